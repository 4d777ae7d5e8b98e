"""Two texts word by word: what both have, what only one has. Pure text, for whoever shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

MAX_WORDS = 4000
"""Words and blanks of a text that are compared; finding what two texts share takes the square of that at worst."""

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


class Kind(StrEnum):
    """Where a piece stands."""

    BOTH = "both"
    MISSING = "missing"
    ADDED = "added"


@dataclass(frozen=True)
class Piece:
    """Some words in a row. ``MISSING``: only in the reference; ``ADDED``: only in the answer."""

    text: str
    kind: Kind


def word_diff(reference: str, answer: str) -> tuple[Piece, ...]:
    """The answer beside the reference, in order: without ``MISSING`` it is the answer, without ``ADDED`` the reference.

    What lies behind ``MAX_WORDS`` is not there.
    """
    expected, said = (_WORDS.findall(text)[:MAX_WORDS] for text in (reference, answer))
    pieces: list[Piece] = []
    missing = added = ""
    for kind, start, end, first, last in SequenceMatcher(None, expected, said, autojunk=False).get_opcodes():
        before, after = "".join(expected[start:end]), "".join(said[first:last])
        if kind == "equal" and not after.isspace():
            pieces += [Piece(missing, Kind.MISSING), Piece(added, Kind.ADDED), Piece(after, Kind.BOTH)]
            missing = added = ""
        else:
            # Two texts that share no more than the blanks between their words have nothing in common there.
            missing, added = missing + before, added + after
    pieces += [Piece(missing, Kind.MISSING), Piece(added, Kind.ADDED)]
    return tuple(piece for piece in pieces if piece.text)


def count_words(pieces: Sequence[Piece]) -> dict[Kind, int]:
    """How many words (punctuation marks count, blanks do not) are of each kind."""
    counts = dict.fromkeys(Kind, 0)
    for piece in pieces:
        counts[piece.kind] += sum(not word.isspace() for word in _WORDS.findall(piece.text))
    return counts
