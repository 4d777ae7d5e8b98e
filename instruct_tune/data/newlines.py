"""Detect and unify mixed line ends: rows from several systems mix ``\\r\\n`` and ``\\n``, different text to a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow


def note_on_mixed(columns: Iterable[pyarrow.ChunkedArray]) -> str | None:
    """Return a note if the rows, passed as columns of equal length, mix line ends; else None."""
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
    """Replace every ``\\r\\n`` and every single ``\\r`` with ``\\n``."""
    import pyarrow.compute

    return pyarrow.compute.replace_substring_regex(column, "\r\n?", "\n")


def _any(columns: Iterable[pyarrow.ChunkedArray], pattern: str) -> pyarrow.ChunkedArray:
    """Return, per row, whether any column matches."""
    import pyarrow.compute

    any_match, *more = (pyarrow.compute.match_substring_regex(column, pattern) for column in columns)
    for match in more:
        any_match = pyarrow.compute.or_(any_match, match)
    return any_match


def _rows(count: int, verb: str) -> str:
    return f"1 row {verb}s" if count == 1 else f"{count:,} rows {verb}"
