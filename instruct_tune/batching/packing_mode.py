"""How the rows of a batch are kept apart. A module of its own, so that the page does not import torch."""

from __future__ import annotations

from enum import Enum


class Packing(str, Enum):
    """How rows of one batch are kept apart."""

    POSITIONS = "packed, kept apart by positions"
    MASK = "packed, kept apart by an explicit mask"
    PADDED = "padded, sorted by length"
    ALONE = "one row a pass"

    __str__ = str.__str__
