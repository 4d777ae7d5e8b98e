"""How many tokens a text has by itself, as data: no template around it, no special tokens in it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Encoding changes a tokenizer's settings for a moment.
_ENCODING = threading.Lock()


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], spelled_out: Sequence[str] = ()
) -> list[list[int]]:
    """Data as plain text: the spelling of a special token inside it does not become that token.

    ``spelled_out``: other added tokens for which the same holds.
    """
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    tokens = [*tokenizer.all_special_tokens, *spelled_out]
    for place in _spelling(tokens, texts):
        encoded[place] = _spelled_out(tokenizer, tokens, texts[place], encoded[place])
    return encoded


def _spelling(tokens: Sequence[str], texts: Sequence[str]) -> list[int]:
    """Which of the texts spell one of the tokens."""
    return [place for place, text in enumerate(texts) if any(token in text for token in tokens)]


def _spelled_out(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], text: str, ids: list[int]) -> list[int]:
    """``ids`` with each of the ``tokens`` that ``text`` spells letter by letter.

    A Unigram vocabulary has it as a piece like any other, and mostly as a likelier one than its letters.
    """
    letters = {
        tokenizer.convert_tokens_to_ids(token): tokenizer.convert_tokens_to_ids(list(token))
        for token in tokens
        if token in text
    }
    return [part for each in ids for part in letters.get(each, [each])]


def count_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    """How many ids each text has as data; several times faster than making the ids."""
    if not texts or not tokenizer.is_fast:
        return [len(ids) for ids in encode_texts(tokenizer, texts)]
    # One text the usual way, which sets the backend to plain texts, uncut and unpadded.
    encode_texts(tokenizer, texts[:1])
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    counts = [len(each) for each in encoded]
    for place in _spelling(tokenizer.all_special_tokens, texts):
        counts[place] = len(encode_texts(tokenizer, [texts[place]])[0])
    return counts


def count_tokens_of(model: str, texts: Sequence[str]) -> list[int]:
    """The same with the tokenizer that belongs to a model. Raises ModelError where it cannot be had."""
    tokenizer = _tokenizer(model)
    with _ENCODING:
        return count_tokens(tokenizer, texts)


@functools.lru_cache(maxsize=2)
def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    from .locate import locate
    from .tokenizer_files import tokenizer_folder
    from .tokenizers import load_tokenizer

    return load_tokenizer(model, tokenizer_folder(model) or locate(model, lambda text: None).path)
