"""Tokens of plain texts: without a template, and with special tokens spelled out as ordinary text."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Encoding temporarily changes a tokenizer's settings.
_ENCODING = threading.Lock()


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], spelled_out: Sequence[str] = ()
) -> list[list[int]]:
    """Ids of each text as plain text: the spelling of a special token in it does not become that token.

    ``spelled_out``: further added tokens to treat the same way.
    """
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    tokens = list(dict.fromkeys([*tokenizer.all_special_tokens, *spelled_out]))
    for index in _indices_with(tokens, texts):
        encoded[index] = _spell_out(tokenizer, tokens, texts[index], encoded[index])
    return encoded


def _indices_with(tokens: Sequence[str], texts: Sequence[str]) -> list[int]:
    """Indices of the texts that contain one of the tokens."""
    return [index for index, text in enumerate(texts) if any(token in text for token in tokens)]


def _spell_out(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], text: str, ids: list[int]) -> list[int]:
    """``ids`` with each of the ``tokens`` in ``text`` replaced by the ids of its letters.

    A Unigram vocabulary holds such a token as an ordinary piece, mostly a likelier one than its letters.
    """
    letters = {
        tokenizer.convert_tokens_to_ids(token): tokenizer.convert_tokens_to_ids(list(token))
        for token in tokens
        if token in text
    }
    times = _times_spelled(tokenizer, tokens, text, ids)
    return [
        part
        for token_id, count in zip(ids, times, strict=True)
        for part in (letters[token_id] * count if token_id in letters and count else [token_id])
    ]


def _times_spelled(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], text: str, ids: list[int]) -> list[int]:
    """How many of the ``tokens`` the text spells where each of ``ids`` stands.

    The unknown token also stands for characters that the vocabulary has not, there 0 times, and some tokenizers make
    one of several in a row. Only a fast tokenizer knows where its ids stand.
    """
    if not tokenizer.is_fast:
        return [1] * len(ids)
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    # The longest first: one token may be a part of another.
    spelled = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))))
    return [len(spelled.findall(text[start:end])) for start, end in encoded["offset_mapping"]]


def count_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    """Number of ids of each text from ``encode_texts``, several times faster than making the ids."""
    if not texts or not tokenizer.is_fast:
        return [len(ids) for ids in encode_texts(tokenizer, texts)]
    # Encoding one text the usual way sets the backend to plain text without truncation and padding.
    encode_texts(tokenizer, texts[:1])
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    counts = [len(encoding) for encoding in encoded]
    for index in _indices_with(tokenizer.all_special_tokens, texts):
        counts[index] = len(encode_texts(tokenizer, [texts[index]])[0])
    return counts


def count_tokens_of(model: str, texts: Sequence[str]) -> list[int]:
    """``count_tokens`` with the tokenizer of ``model``. Raises ModelError or HubError if it cannot be loaded."""
    tokenizer = _tokenizer(model)
    with _ENCODING:
        return count_tokens(tokenizer, texts)


@functools.lru_cache(maxsize=2)
def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    from .locate import locate
    from .tokenizer_files import tokenizer_folder
    from .tokenizers import load_tokenizer

    return load_tokenizer(model, tokenizer_folder(model) or locate(model, lambda text: None).path)
