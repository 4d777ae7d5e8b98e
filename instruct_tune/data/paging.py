"""Search, sort and page through one part of the split.

Pyarrow searches and sorts whole columns, so a million rows create no Python objects but those of the page.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DataError
from .splits import Example, examples

if TYPE_CHECKING:
    import datasets
    import numpy
    import pyarrow

ORDERS = ("split", "shortest", "longest", "instruction")
"""Orders: as split; by the answer's length in characters (two of them); by instruction, ignoring case."""
LONGEST_SEARCH = 200


@dataclass(frozen=True)
class RowsPage:
    """One page of matches: (number in the part, from 1; row). ``page`` counts from 1."""

    rows: tuple[tuple[int, Example], ...]
    page: int
    pages: int
    matches: int


class Browser:
    """Pages through one part of the split. The columns that a search needs are computed once, by the first search."""

    def __init__(self, part: datasets.Dataset):
        self.part = part

    def page(self, search: str, order: str, page: int, size: int) -> RowsPage:
        """Return page ``page`` of the rows that contain ``search`` in any text, ignoring case; ``size`` rows per page.

        A page beyond the last gives the last. Raises DataError for an unknown order and for a search text that is
        too long.
        """
        if order not in ORDERS:
            raise DataError(f"Rows cannot be sorted by {order!r}: choose one of {', '.join(ORDERS)}.")
        if len(search) > LONGEST_SEARCH:
            raise DataError(f"Search for at most {LONGEST_SEARCH} characters.")
        indices = None if order == "split" and not search else self._matching_rows(search, order)
        matches = len(self.part) if indices is None else len(indices)
        pages = max(1, math.ceil(matches / size))
        page = min(max(1, page), pages)
        start = (page - 1) * size
        if indices is None:
            rows = list(enumerate(examples(self.part, start, size), start + 1))
        else:
            on_page = indices[start : start + size]
            rows = list(zip((on_page + 1).tolist(), examples(self.part.select(on_page)), strict=True))
        return RowsPage(tuple(rows), page, pages, matches)

    def _matching_rows(self, search: str, order: str) -> numpy.ndarray:
        """Return the indices of the rows that contain ``search``, sorted; equal rows keep their order."""
        import numpy
        import pyarrow
        import pyarrow.compute as pc

        at = numpy.arange(len(self.part))
        if search:
            pattern = pc.utf8_lower(pyarrow.scalar(search)).as_py()
            holding = [pc.match_substring(column, pattern) for column in self._lowered.columns]
            at = numpy.flatnonzero(functools.reduce(pc.or_, holding))
        if order == "split":
            return at
        key = self._lowered["instruction"] if order == "instruction" else self._answer_lengths
        direction = "descending" if order == "longest" else "ascending"
        return at[pc.array_sort_indices(key.take(at).combine_chunks(), order=direction).to_numpy()]

    @functools.cached_property
    def _lowered(self) -> pyarrow.Table:
        # Lowered once: pyarrow's own case-insensitive search takes ten times as long as a plain one.
        import pyarrow
        import pyarrow.compute as pc

        table = self.part.with_format("arrow")[:]
        return pyarrow.table({name: pc.utf8_lower(table[name]) for name in table.column_names})

    @functools.cached_property
    def _answer_lengths(self) -> pyarrow.ChunkedArray:
        import pyarrow.compute as pc

        return pc.utf8_length(self.part.with_format("arrow")[:]["output"])
