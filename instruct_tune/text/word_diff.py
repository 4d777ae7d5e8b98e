"""Word-level diff of two texts, without any formatting."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum

MAX_WORDS = 4000
"""Words and blanks of a text that are compared; the diff takes quadratic time at worst."""

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


class Kind(str, Enum):
    """Which of the two texts contains a piece."""

    BOTH = "both"
    MISSING = "missing"
    ADDED = "added"

    __str__ = str.__str__


@dataclass(frozen=True)
class Piece:
    """Consecutive words. ``MISSING``: only in the reference. ``ADDED``: only in the answer."""

    text: str
    kind: Kind


def word_diff(reference: str, answer: str) -> tuple[Piece, ...]:
    """The pieces in order: those without ``MISSING`` form the answer, those without ``ADDED`` the reference.

    Both texts are cut at ``MAX_WORDS``.
    """
    expected, actual = (_WORDS.findall(text)[:MAX_WORDS] for text in (reference, answer))
    pieces: list[Piece] = []
    missing = added = ""
    for kind, start, end, first, last in SequenceMatcher(None, expected, actual, autojunk=False).get_opcodes():
        before, after = "".join(expected[start:end]), "".join(actual[first:last])
        if kind == "equal" and not after.isspace():
            pieces += [Piece(missing, Kind.MISSING), Piece(added, Kind.ADDED), Piece(after, Kind.BOTH)]
            missing = added = ""
        else:
            # A common piece of blanks only is no common text.
            missing, added = missing + before, added + after
    pieces += [Piece(missing, Kind.MISSING), Piece(added, Kind.ADDED)]
    return tuple(piece for piece in pieces if piece.text)


def words(text: str) -> list[str]:
    """All words of a text, however long it is; punctuation marks count, blanks do not."""
    return [word for word in _WORDS.findall(text) if not word.isspace()]


def count_words(pieces: Sequence[Piece]) -> dict[Kind, int]:
    """Number of words of each kind."""
    counts = dict.fromkeys(Kind, 0)
    for piece in pieces:
        counts[piece.kind] += len(words(piece.text))
    return counts
