"""Preview the first rows of a large file while the rest is still loading. Reads at most ``MAX_BYTES`` of it."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..config.run_config import Columns, DataSettings
from ..errors import DataError
from .columns import ColumnsError, wanted
from .json_reader import from_records
from .sources import cells_of
from .splits import Example, examples
from .table import Read, Table, to_dataset
from .text_column import Pieces

LARGE = 4 * 2**20
"""Bytes from which on a file has a preview; smaller files load as fast."""
ROWS = 10
MAX_BYTES = 2**20


@dataclass(frozen=True)
class FirstRows:
    """Rows as in the file, unfiltered. ``estimate``: approximate number of rows in the whole file."""

    rows: tuple[Example, ...]
    estimate: int


def first_rows(settings: DataSettings) -> FirstRows | None:
    """Return the first rows of a large JSON lines or CSV file; None for anything else.

    None also if they cannot be read: loading the whole file reports the error. If the columns have other names,
    the proposed columns are used.
    """
    path = Path(os.path.expanduser(settings.source))
    read = _READERS.get(path.suffix.lower())
    if read is None or not os.path.isfile(path) or (size := os.path.getsize(path)) < LARGE:
        return None
    try:
        with path.open("rb") as file:
            # The incremental decoder drops a character that is cut at the end.
            head = codecs.getincrementaldecoder("utf-8-sig")().decode(file.read(MAX_BYTES))
        shown, rows = _mapped(lambda columns: read(head, columns), settings.columns, path.name)
    except (OSError, ValueError, RecursionError, csv.Error, DataError):
        return None
    return FirstRows(tuple(shown), round(size * rows / min(size, MAX_BYTES)))


def _mapped(read: Callable[[Columns], tuple[Read, int]], columns: Columns, name: str) -> tuple[list[Example], int]:
    """Return the rows under ``columns``, or under the proposed ones, and the number of rows in the part read."""
    (names, count, values), rows = read(columns)
    try:
        return examples(to_dataset(Table(name, "", count, names, values), columns)), rows
    except ColumnsError as error:
        if error.proposal is None or error.proposal == columns:
            raise
        return _mapped(read, error.proposal, name)


def _lines_of_json(head: str, columns: Columns) -> tuple[Read, int]:
    # Text after the last line end is a partial row.
    lines = [line for line in head.split("\n")[:-1] if line.strip()]
    return from_records((json.loads(line) for line in lines[:ROWS]), "the beginning", columns), len(lines)


def _lines_of_csv(head: str, columns: Columns, mark: str | None = None) -> tuple[Read, int]:
    csv.field_size_limit(2**31 - 1)
    # Not strict: the last row is cut, perhaps within quotes, and dropped.
    separator, text, _ = cells_of(head, mark)
    lines = [cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if cells][:-1]
    header, *rows = lines
    shown = list(itertools.islice(rows, ROWS))
    if any(len(row) != len(header) for row in shown):
        raise DataError("A row has another number of cells than the header.")
    values = {name: Pieces([row[header.index(name)] for row in shown]) for name in wanted(header, columns)}
    return (header, len(shown), values), len(rows)


_READERS: dict[str, Callable[[str, Columns], tuple[Read, int]]] = {
    ".jsonl": _lines_of_json,
    ".ndjson": _lines_of_json,
    ".json": _lines_of_json,
    ".csv": _lines_of_csv,
    ".tsv": partial(_lines_of_csv, mark="\t"),
}
