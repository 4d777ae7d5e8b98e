"""Line ends inside texts: rows of several machines mix ``\\r\\n`` and ``\\n``, different characters to a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow


def note_on_mixed(columns: Iterable[pyarrow.ChunkedArray]) -> str | None:
    """What to say of rows, given as columns of one length, that mix line ends; None where they do not."""
    import pyarrow.compute

    columns = list(columns)
    windows = _any(columns, "\r")
    if not (with_return := pyarrow.compute.sum(windows).as_py()):
        return None
    plain = pyarrow.compute.sum(_any(columns, "(^|[^\r])\n")).as_py()
    if not plain:
        return None
    return (
        f"Line ends differ: {_rows(with_return, 'hold')} \\r\\n, as Windows writes it, and {_rows(plain, 'hold')} "
        "\\n alone. A model reads them as different characters: data.unify_newlines=true makes all of them \\n."
    )


def unified(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """The texts with ``\\n`` for every ``\\r\\n`` and every ``\\r`` alone."""
    import pyarrow.compute

    return pyarrow.compute.replace_substring_regex(column, "\r\n?", "\n")


def _any(columns: Iterable[pyarrow.ChunkedArray], pattern: str) -> pyarrow.ChunkedArray:
    """Row by row whether some column matches."""
    import pyarrow.compute

    first, *others = (pyarrow.compute.match_substring_regex(column, pattern) for column in columns)
    for other in others:
        first = pyarrow.compute.or_(first, other)
    return first


def _rows(count: int, verb: str) -> str:
    return f"1 row {verb}s" if count == 1 else f"{count:,} rows {verb}"
