"""How many tokens a model reads at once, from its configuration: no weights are loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .read_model import read_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

NO_LIMIT = 2**31
"""More tokens than any row has."""


def context_of(config: PretrainedConfig) -> int:
    """The most positions that an architecture has, prompt and answer together.

    XLNet's says -1, since its positions have no end. MPT calls it ``max_seq_len``; in a multimodal model the text's
    configuration has it.
    """
    text = config.get_text_config(decoder=True)
    positions = int(getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None) or 0)
    return positions if positions > 0 else NO_LIMIT


def context_in(folder: Path) -> int:
    """The context of the model in ``folder``. Raises ModelError where its configuration cannot be read."""
    return context_of(read_config(folder.name, folder))


def row_limit(tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """The most tokens of a training row: ``max_length``, or the context of the tokenizer's model where that is less.

    That model's configuration lies in the folder that the tokenizer was read from.
    """
    folder = tokenizer.name_or_path
    return min(max_length, context_in(Path(folder))) if os.path.isdir(folder) else max_length
