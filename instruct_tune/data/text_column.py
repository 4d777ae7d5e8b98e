"""Store a column's values in pieces while it is read, so that a large file is never in memory as Python objects.

Pyarrow stores texts in about their length in bytes. A piece that holds anything else stays a Python list, so that an
error can name the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

MAX_VALUES = 10_000
"""Values in one piece."""


class Pieces:
    """A growing sequence of values; once all are known to be texts, ``texts`` returns them as a pyarrow array."""

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
        """Yield (number from 1, value) for all values that may not be texts: nulls, and pieces with other types."""
        number = 1
        for part in self._parts:
            if isinstance(part, list):
                yield from enumerate(part, start=number)
            elif part.null_count:
                nulls = part.is_null().to_numpy(zero_copy_only=False).nonzero()[0].tolist()
                yield from ((number + at, None) for at in nulls)
            number += len(part)

    def texts(self) -> pyarrow.ChunkedArray:
        """Return the values as a pyarrow array; all must be texts or nulls. A null becomes the empty text."""
        import pyarrow

        return pyarrow.chunked_array(self._parts, pyarrow.string()).fill_null("")


def _packed(values: list[Any]) -> pyarrow.StringArray | list[Any]:
    import pyarrow

    # pandas and parquet write a missing value as NaN, also in text columns; only NaN differs from itself.
    values = [None if value != value else value for value in values]
    # Checked here, since pyarrow accepts bytes as texts.
    if not all(value is None or type(value) is str for value in values):
        return values
    try:
        return pyarrow.array(values, pyarrow.string())
    except UnicodeEncodeError:  # a lone surrogate
        return values
