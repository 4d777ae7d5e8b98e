"""Texts that continue a prompt → ids, and ids → the text they add to it, to the last space.

Sentencepiece tokenizers treat the beginning of a text differently: some put a space before it, and drop one again
when they decode. An answer does not begin a text, it continues the prompt. So where a tokenizer loses white space at
a beginning, an answer is encoded behind a lead, a short text whose ids are cut off again, and decoded likewise.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..pretrained.token_counts import count_tokens, encode_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LEADS = ("\n", ".", ":", "a", "1")
"""Tried in this order: a new line hardly ever merges with what follows."""
_SAMPLES = ("x", " x", "  x", "    x = 1", "\n x", "\tx")
"""Beginnings that a tokenizer may lose."""


@dataclass(frozen=True)
class Lead:
    """What an answer is encoded behind (``texts``, the first that does not merge with it) and decoded behind."""

    texts: tuple[str, ...] = ()
    decode_ids: tuple[int, ...] = ()
    decode_text: str = ""


_NONE = Lead()
_leads: weakref.WeakKeyDictionary[PreTrainedTokenizerBase, Lead] = weakref.WeakKeyDictionary()
_finding = threading.Lock()


def encode_continuations(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], spelled_out: Sequence[str] = ()
) -> list[list[int]]:
    """Ids of texts that continue a prompt, as plain text: no special token comes of a spelling.

    ``spelled_out``: other added tokens for which the same holds.
    """
    return _encode(tokenizer, texts, _lead(tokenizer), spelled_out)


def count_continuation_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    """How many ids ``encode_continuations`` makes of each text."""
    if _lead(tokenizer) == _NONE:
        return count_tokens(tokenizer, texts)
    return [len(ids) for ids in encode_continuations(tokenizer, texts)]


def decode_continuation(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, skip_special_tokens: bool = True
) -> str:
    """The text that ``ids`` add to a prompt."""
    return _decode(tokenizer, ids, _lead(tokenizer), skip_special_tokens)


def encode_markup_continuation(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of markup that continues a prompt: special tokens that it spells become those tokens."""
    for lead in _lead(tokenizer).texts:
        front = tokenizer(lead, add_special_tokens=False)["input_ids"]
        ids = tokenizer(lead + text, add_special_tokens=False)["input_ids"]
        if ids[: len(front)] == front:
            return ids[len(front) :]
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _lead(tokenizer: PreTrainedTokenizerBase) -> Lead:
    """The tokenizer's lead, found once: none where more samples survive without one."""
    with _finding:
        if tokenizer not in _leads:
            _leads[tokenizer] = _find_lead(tokenizer)
        return _leads[tokenizer]


def _find_lead(tokenizer: PreTrainedTokenizerBase) -> Lead:
    front = encode_texts(tokenizer, ["a"])[0]
    behind = Lead(_LEADS, tuple(front), _plain_decode(tokenizer, front, True))
    return behind if _survivors(tokenizer, behind) > _survivors(tokenizer, _NONE) else _NONE


def _survivors(tokenizer: PreTrainedTokenizerBase, lead: Lead) -> int:
    """How many samples come back as they were."""
    encoded = _encode(tokenizer, _SAMPLES, lead)
    return sum(_decode(tokenizer, ids, lead, True) == text for ids, text in zip(encoded, _SAMPLES, strict=True))


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], lead: Lead, spelled_out: Sequence[str] = ()
) -> list[list[int]]:
    def encode(texts: Sequence[str]) -> list[list[int]]:
        return encode_texts(tokenizer, texts, spelled_out)

    if not texts or not lead.texts:
        return encode(texts)
    found: dict[int, list[int]] = {}
    waiting = list(range(len(texts)))
    for before in lead.texts:
        front, *encoded = encode([before, *(before + texts[place] for place in waiting)])
        whole = dict(zip(waiting, encoded, strict=True))
        found |= {place: ids[len(front) :] for place, ids in whole.items() if ids[: len(front)] == front}
        waiting = [place for place in waiting if place not in found]
        if not waiting:
            break
    found |= dict(zip(waiting, encode([texts[place] for place in waiting]), strict=True))
    return [found[place] for place in range(len(texts))]


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], lead: Lead, skip_special_tokens: bool) -> str:
    if not ids:
        return ""
    text = _plain_decode(tokenizer, [*lead.decode_ids, *ids], skip_special_tokens)
    return text.removeprefix(lead.decode_text)


def _plain_decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], skip_special_tokens: bool) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)
