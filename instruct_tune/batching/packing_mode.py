"""How the rows of a batch are kept apart; a word that the page knows without what computes it."""

from __future__ import annotations

from enum import StrEnum


class Packing(StrEnum):
    """How rows of one batch are kept apart."""

    POSITIONS = "packed, kept apart by positions"
    MASK = "packed, kept apart by an explicit mask"
    PADDED = "padded, sorted by length"
    ALONE = "one row a pass"
