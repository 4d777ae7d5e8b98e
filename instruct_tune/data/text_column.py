"""A column's values as they are read, piece by piece, so that a large file never stands in memory as Python's objects.

Texts are kept by pyarrow, at about their length in bytes. A piece with anything else in it stays as it was read, for
whoever has to say what that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

MAX_VALUES = 10_000
"""Values in one piece."""


class Pieces:
    """Values in their order, to be added to, gone through, and, once all are known to be texts, had as pyarrow's."""

    def __init__(self, values: Sequence[Any] = ()):
        self._parts: list[pyarrow.StringArray | list[Any]] = []
        self.append(values)

    def append(self, values: Sequence[Any]) -> None:
        """Add ``values`` at the end."""
        for start in range(0, len(values), MAX_VALUES):
            self._parts.append(_packed(list(values[start : start + MAX_VALUES])))

    def __iter__(self) -> Iterator[Any]:
        for part in self._parts:
            yield from part if isinstance(part, list) else part.to_pylist()

    def doubtful(self) -> Iterator[tuple[int, Any]]:
        """(number from 1, value) of every value that may be no text: nulls, and all in a piece with anything else."""
        number = 1
        for part in self._parts:
            if isinstance(part, list):
                yield from enumerate(part, start=number)
            elif part.null_count:
                nulls = part.is_null().to_numpy(zero_copy_only=False).nonzero()[0].tolist()
                yield from ((number + at, None) for at in nulls)
            number += len(part)

    def texts(self) -> pyarrow.ChunkedArray:
        """The values, which are texts and nulls; a null is the empty text."""
        import pyarrow

        return pyarrow.chunked_array(self._parts, pyarrow.string()).fill_null("")


def _packed(values: list[Any]) -> pyarrow.StringArray | list[Any]:
    import pyarrow

    # NaN is how pandas and parquet spell a missing value, also in a column of texts; it alone differs from itself.
    values = [None if value != value else value for value in values]
    # Asked here, since pyarrow takes bytes for texts.
    if not all(value is None or type(value) is str for value in values):
        return values
    try:
        return pyarrow.array(values, pyarrow.string())
    except UnicodeEncodeError:  # half a character
        return values
