"""Load a model's tokenizer, check it and set its padding. All code loads tokenizers here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from .model_errors import check_files, model_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = "a b ☃ \ue000"
"""Contains characters that many vocabularies lack, to reveal a missing unknown token at load."""


def load_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder`` of the model ``name``, padding on the left, with EOS if it has no padding token.

    Raises ModelError if it cannot be read or has no end-of-sequence token.
    """
    tokenizer = read_tokenizer(name, folder)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{name}'s tokenizer has no end-of-sequence token, so no answer could learn to end.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def read_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer as its files define it. Raises ModelError if it cannot be read or used."""
    from transformers import AutoTokenizer

    check_files(name, folder)
    with model_errors(f"The tokenizer of {name} cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokenizer(_PROBE)
    return tokenizer
