"""The text of one token after others, also where it ends inside a character."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .continuation import decode_continuation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""How sentencepiece tokenizers spell a token that is a single byte."""


@dataclass(frozen=True)
class TokenText:
    """The characters that a token completes; ``bytes``: those of an unfinished character at its end, in hexadecimal."""

    text: str
    bytes: str = ""


def token_text(tokenizer: PreTrainedTokenizerBase, before: Sequence[int], token: int) -> TokenText:
    """Return the text that ``token`` adds to the answer ``before`` it, special tokens spelled out.

    A token alone may decode to another text: to half a character, or to a word without the space before it.
    """
    shown = _decoded(tokenizer, before)
    after = _decoded(tokenizer, [*before, token])
    # A character that was unfinished is complete now.
    kept = shown if after.startswith(shown) else shown.rstrip(_UNFINISHED)
    if not after.startswith(kept):
        return TokenText(_spelling(tokenizer, token))
    added, raw = after[len(kept) :], _raw_bytes(_spelling(tokenizer, token))
    if not after.endswith(_UNFINISHED) or not raw or _is_text(raw):
        return TokenText(added)
    text = added.rstrip(_UNFINISHED)
    return TokenText(text, raw.removeprefix(text.encode()).hex(" ").upper())


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return decode_continuation(tokenizer, ids, skip_special_tokens=False)


def _spelling(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The vocabulary's own spelling; empty for an id without one."""
    return tokenizer.convert_ids_to_tokens([token])[0] or ""


def _raw_bytes(spelling: str) -> bytes:
    """The bytes that a byte-level or sentencepiece token stands for; none where its spelling is another."""
    if single := _BYTE.fullmatch(spelling):
        return bytes.fromhex(single[1])
    table = _byte_of_letter()
    return bytes(table[letter] for letter in spelling) if all(letter in table for letter in spelling) else b""


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@functools.cache
def _byte_of_letter() -> dict[str, int]:
    """Byte-level BPE's letter for each byte, reversed (GPT-2's ``bytes_to_unicode``).

    Printable Latin-1 stands for itself; the other bytes take the letters from U+0100 on, in their order.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
