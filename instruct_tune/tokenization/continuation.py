"""Encode and decode texts that continue a prompt, without loss of white space.

Sentencepiece tokenizers treat the beginning of a text differently: some put a space before it, and drop one again
when they decode. An answer does not begin a text but continues the prompt. So if a tokenizer loses white space at
the beginning, an answer is encoded after a lead, a short text whose ids are cut off again, and decoded likewise.
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
"""Leads, in the order of trial: a new line hardly ever merges with the text after it."""
_SAMPLES = ("x", " x", "  x", "    x = 1", "\n x", "\tx")
"""Texts whose beginning a tokenizer may lose."""


@dataclass(frozen=True)
class Lead:
    """Texts to encode an answer after (the first that does not merge with it), and the ids to decode it after."""

    texts: tuple[str, ...] = ()
    decode_ids: tuple[int, ...] = ()
    decode_text: str = ""


_NO_LEAD = Lead()
_leads: weakref.WeakKeyDictionary[PreTrainedTokenizerBase, Lead] = weakref.WeakKeyDictionary()
_leads_lock = threading.Lock()


def encode_continuations(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], spelled_out: Sequence[str] = ()
) -> list[list[int]]:
    """Return ids of texts that continue a prompt, as plain text: a spelled special token stays text.

    ``spelled_out``: other added tokens that stay text too.
    """
    return _encode(tokenizer, texts, _lead(tokenizer), spelled_out)


def count_continuation_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[int]:
    """Return the number of ids that ``encode_continuations`` gives for each text."""
    if _lead(tokenizer) == _NO_LEAD:
        return count_tokens(tokenizer, texts)
    return [len(ids) for ids in encode_continuations(tokenizer, texts)]


def decode_continuation(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, skip_special_tokens: bool = True
) -> str:
    """Return the text that ``ids`` add to a prompt."""
    return _decode(tokenizer, ids, _lead(tokenizer), skip_special_tokens)


def encode_markup_continuation(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return ids of markup that continues a prompt: spelled special tokens become those tokens."""
    for lead in _lead(tokenizer).texts:
        front = tokenizer(lead, add_special_tokens=False)["input_ids"]
        ids = tokenizer(lead + text, add_special_tokens=False)["input_ids"]
        if ids[: len(front)] == front:
            return ids[len(front) :]
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _lead(tokenizer: PreTrainedTokenizerBase) -> Lead:
    """Return the tokenizer's lead, determined once; no lead unless more samples round-trip with one."""
    with _leads_lock:
        if tokenizer not in _leads:
            _leads[tokenizer] = _find_lead(tokenizer)
        return _leads[tokenizer]


def _find_lead(tokenizer: PreTrainedTokenizerBase) -> Lead:
    front = encode_texts(tokenizer, ["a"])[0]
    candidate = Lead(_LEADS, tuple(front), _plain_decode(tokenizer, front, True))
    return candidate if _count_round_trips(tokenizer, candidate) > _count_round_trips(tokenizer, _NO_LEAD) else _NO_LEAD


def _count_round_trips(tokenizer: PreTrainedTokenizerBase, lead: Lead) -> int:
    """Count the samples that decode to themselves."""
    encoded = _encode(tokenizer, _SAMPLES, lead)
    return sum(_decode(tokenizer, ids, lead, True) == text for ids, text in zip(encoded, _SAMPLES, strict=True))


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], lead: Lead, spelled_out: Sequence[str] = ()
) -> list[list[int]]:
    def encode(texts: Sequence[str]) -> list[list[int]]:
        return encode_texts(tokenizer, texts, spelled_out)

    if not texts or not lead.texts:
        return encode(texts)
    ids_of: dict[int, list[int]] = {}
    pending = list(range(len(texts)))
    for prefix in lead.texts:
        front, *encoded = encode([prefix, *(prefix + texts[place] for place in pending)])
        whole = dict(zip(pending, encoded, strict=True))
        ids_of |= {place: ids[len(front) :] for place, ids in whole.items() if ids[: len(front)] == front}
        pending = [place for place in pending if place not in ids_of]
        if not pending:
            break
    ids_of |= dict(zip(pending, encode([texts[place] for place in pending]), strict=True))
    return [ids_of[place] for place in range(len(texts))]


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], lead: Lead, skip_special_tokens: bool) -> str:
    if not ids:
        return ""
    text = _plain_decode(tokenizer, [*lead.decode_ids, *ids], skip_special_tokens)
    return text.removeprefix(lead.decode_text)


def _plain_decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], skip_special_tokens: bool) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)
