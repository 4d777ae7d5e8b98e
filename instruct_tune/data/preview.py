"""The first rows of a large file, at once: read from its beginning alone, while the rest is still to come.

However large the file is, ``MAX_BYTES`` of it are read.
"""

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
"""Bytes from which on a file has a preview: smaller ones are there as fast."""
ROWS = 10
MAX_BYTES = 2**20


@dataclass(frozen=True)
class FirstRows:
    """Rows as they stand in the file, nothing filtered; ``estimate``: about how many rows the whole file has."""

    rows: tuple[Example, ...]
    estimate: int


def first_rows(settings: DataSettings) -> FirstRows | None:
    """The first rows of a large file with a row a line, or of a large CSV file; None for anything else.

    None also where they cannot be read by themselves: what is wrong is told by who reads the whole file. Columns of
    other names are read as they would be proposed.
    """
    path = Path(os.path.expanduser(settings.source))
    read = _READERS.get(path.suffix.lower())
    if read is None or not os.path.isfile(path) or (size := os.path.getsize(path)) < LARGE:
        return None
    try:
        with path.open("rb") as file:
            # A character may be cut at the end: it is left out.
            head = codecs.getincrementaldecoder("utf-8-sig")().decode(file.read(MAX_BYTES))
        shown, rows = _mapped(lambda columns: read(head, columns), settings.columns, path.name)
    except (OSError, ValueError, RecursionError, csv.Error, DataError):
        return None
    return FirstRows(tuple(shown), round(size * rows / min(size, MAX_BYTES)))


def _mapped(read: Callable[[Columns], tuple[Read, int]], columns: Columns, name: str) -> tuple[list[Example], int]:
    """The rows under ``columns``, or under those that are proposed instead; and how many rows the beginning has."""
    (found, count, values), rows = read(columns)
    try:
        return examples(to_dataset(Table(name, "", count, found, values), columns)), rows
    except ColumnsError as error:
        if error.proposal is None or error.proposal == columns:
            raise
        return _mapped(read, error.proposal, name)


def _lines_of_json(head: str, columns: Columns) -> tuple[Read, int]:
    # What stands behind the last line's end is half a row.
    lines = [line for line in head.split("\n")[:-1] if line.strip()]
    return from_records((json.loads(line) for line in lines[:ROWS]), "the beginning", columns), len(lines)


def _lines_of_csv(head: str, columns: Columns, mark: str | None = None) -> tuple[Read, int]:
    csv.field_size_limit(2**31 - 1)
    # Not strict: the last row is cut, perhaps within quotes, and left out.
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
