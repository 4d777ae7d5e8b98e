"""Where rows come from: the bundled file, the Hub, or a file on this machine.

Files are read here and not by ``load_dataset``, which turns numbers and dates into other types
before anyone can say in which row they stand, and keeps a cache that a changed file or a second
thread could trip over.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import hub_dataset
from .columns import conversations_in
from .errors import DataError
from .hub_dataset import UNKNOWN_LICENCE
from .limits import check_rows, check_text
from .loading import Loading
from .settings import Columns, DataSettings
from .table import Table, counted, kind_of, listed
from .upload_names import uploaded_as

if TYPE_CHECKING:
    import pyarrow

BUNDLED_FILE = Path(__file__).resolve().parents[1] / "assets" / "instructions.jsonl"
BUNDLED_LICENCE = "CC0-1.0"
CODEALPACA_REPO = "sahil2801/CodeAlpaca-20k"
CODEALPACA_LICENCE = "CC BY 4.0 on its Hub card; the original project's data is CC BY-NC 4.0"

HUB_PREFIX = "hub:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def load_table(settings: DataSettings, loading: Loading) -> Table:
    """Read what ``settings.source`` names; ``loading`` follows it, and can stop it."""
    source = settings.source
    if source == "bundled":
        return _load_file(BUNDLED_FILE, settings, loading, BUNDLED_LICENCE)
    if source == "codealpaca-20k":
        return _load_hub(CODEALPACA_REPO, settings, loading, CODEALPACA_LICENCE)
    if source.startswith(HUB_PREFIX):
        return _load_hub(source.removeprefix(HUB_PREFIX), settings, loading)
    return _load_file(Path(source), settings, loading)


def _load_file(path: Path, settings: DataSettings, loading: Loading, licence: str = UNKNOWN_LICENCE) -> Table:
    path = _existing_file(path)
    name = uploaded_as(path) or path.name
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{name} is not a kind of file that is read here: give one of {', '.join(_READERS)}.")
    if settings.split != "train":
        raise DataError(f"{name} has no split {settings.split!r}, a file has one split: set data.split to 'train'.")
    loading.enter(f"Reading {name}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror}): check the file and who may read it.") from error
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"{name} is empty: give a file with rows.")
    found, rows, columns = read(content, name, settings.columns)
    return Table(name, licence, rows, found, columns)


def _existing_file(path: Path) -> Path:
    # os.path says False where Path raises, as for a name that is too long to exist.
    shown = os.path.expanduser(path)
    if os.path.isdir(shown):
        raise DataError(f"{path} is a directory: give one file in it ({', '.join(_READERS)}).")
    if not os.path.isfile(shown):
        raise DataError(
            f"There is no file {path}: give the path to a file ({', '.join(_READERS)}), "
            "or one of bundled, codealpaca-20k and hub:OWNER/NAME."
        )
    return Path(shown)


# What a reader gives: the names found, the number of rows, the values of the wanted columns.
Read = tuple[list[str], int, dict[str, list[Any]]]


def wanted(found: Sequence[str], columns: Columns) -> list[str]:
    """The names, of those found, whose values are needed."""
    needed = (columns.instruction, columns.input, columns.output, conversations_in(found, columns))
    return [name for name in found if name in needed]


def from_records(records: Sequence[dict[str, Any]], columns: Columns) -> Read:
    """Rows that may each have names of their own, as columns."""
    found = list(dict.fromkeys(name for record in records for name in record))
    values = {name: [record.get(name) for record in records] for name in wanted(found, columns)}
    return found, len(records), values


def _from_arrow(table: pyarrow.Table, name: str) -> dict[str, list[Any]]:
    values = {}
    for column in table.column_names:
        try:
            values[column] = table[column].to_pylist()
        except (ValueError, OverflowError) as error:  # bytes that are no UTF-8, dates beyond the calendar
            raise DataError(
                f"Column {column!r} of {name} cannot be read as text: write it as UTF-8 text, "
                "or name another column in data.columns."
            ) from error
    return values


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        instead = " but looks like UTF-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
        raise DataError(
            f"{name} is not UTF-8 text{instead} (byte {error.start + 1:,} is the first that is wrong): "
            "save it as UTF-8."
        ) from error


def _read_json(content: bytes, name: str, columns: Columns) -> Read:
    """A list of objects, or one object a line, whichever the file holds and whatever its ending."""
    text = _decode(content, name)
    if text.lstrip().startswith("["):
        rows = _parse_json(text, name)
    elif _is_one_object(text):
        raise DataError(f"{name} holds one JSON object, not rows: make it a list of objects, or one object a line.")
    else:
        # Not splitlines(), which also splits at separators that may stand inside a JSON text.
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        check_rows(name, len(lines))
        rows = [_parse_json(line, name, number) for number, line in lines]
    check_rows(name, len(rows))
    strangers = [number for number, row in enumerate(rows, start=1) if not isinstance(row, dict)]
    if strangers:
        raise DataError(
            f"{name} holds {kind_of(rows[strangers[0] - 1])} where an object with instruction and output should be, "
            f"in {counted(len(strangers), 'row')}, the first is row {strangers[0]}: make every row an object."
        )
    return from_records(rows, columns)


def _parse_json(text: str, name: str, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name} is not valid JSON at line {first_line + error.lineno - 1} ({error.msg}): "
            "mend that line, or export the file again if it was cut short."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} has a number too long or lists too deep to be read: remove them.") from error


def _is_one_object(text: str) -> bool:
    # Cheap with JSON lines: the parser gives up after the first of them.
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _read_csv(content: bytes, name: str, columns: Columns) -> Read:
    """Every cell is the text it was written as: a number, NA and null too."""
    text = _decode(content, name)
    csv.field_size_limit(2**31 - 1)  # the default refuses a cell of more than 131,072 characters
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text), strict=True)
    lines = []
    try:
        for cells in reader:
            if cells:
                lines.append(cells)
                check_rows(name, len(lines) - 1, counting=True)
    except csv.Error as error:
        raise DataError(
            f"{name} is not well-formed CSV at line {reader.line_num} ({error}): "
            "check the quotes there and before, or export the file again."
        ) from error
    header, *rows = lines
    _check_shape(name, header, rows)
    places = {column: header.index(column) for column in wanted(header, columns)}
    return header, len(rows), {column: [row[at] for row in rows] for column, at in places.items()}


def delimiter(text: str) -> str:
    """A comma, unless the first line has none and one of a spreadsheet's other separators."""
    header = text.lstrip().split("\n", 1)[0]
    cells = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in ",;\t|"}
    return "," if cells[","] > 1 else max(cells, key=lambda mark: cells[mark])


def _check_shape(name: str, header: list[str], rows: list[list[str]]) -> None:
    if not any(cell.strip() for cell in header):
        raise DataError(f"{name} has an empty header: its first line has to name the columns.")
    _check_twice(name, header)
    uneven = [number for number, row in enumerate(rows, start=1) if len(row) != len(header)]
    if uneven:
        cells = counted(len(rows[uneven[0] - 1]), "cell")
        raise DataError(
            f"Row {uneven[0]} of {name} has {cells} where the header has {len(header)}: "
            "put quotes around cells that hold a comma, a quote or a new line."
        )


def _without_dictionaries(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    import pyarrow

    columns = [
        column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column for column in batch.columns
    ]
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _check_twice(name: str, found: list[str]) -> None:
    twice = [column for column in dict.fromkeys(found) if column and found.count(column) > 1]
    if twice:
        raise DataError(f"{name} has more than one column {twice[0]!r}: rename or remove one of them.")


def _read_parquet(content: bytes, name: str, columns: Columns) -> Read:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
        found, rows = file.schema_arrow.names, file.metadata.num_rows
        check_rows(name, rows)
        _check_twice(name, found)
        batches, size = [], 0
        # In pieces, since a dictionary of one long text lets a small file unpack to any size.
        for piece in file.iter_batches(batch_size=500, columns=wanted(found, columns)):
            batch = _without_dictionaries(piece)
            size += batch.nbytes
            check_text(name, size)
            batches.append(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{name} is not a readable parquet file: it is damaged or cut short, export it again."
        ) from error
    return found, rows, _from_arrow(pyarrow.Table.from_batches(batches), name) if batches else {}


_READERS: dict[str, Callable[[bytes, str, Columns], Read]] = {
    ".json": _read_json,
    ".jsonl": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


# The Hub


def _load_hub(repo: str, settings: DataSettings, loading: Loading, licence: str | None = None) -> Table:
    if not HUB_ID.fullmatch(repo):
        raise DataError(f"{repo!r} is not a Hub dataset: write hub:OWNER/NAME.")
    splits, card_licence = hub_dataset.fetch(repo, loading)
    split = settings.split
    if split not in splits:
        raise DataError(f"{repo} has no split {split!r}: set data.split to one of {listed(list(splits))}.")
    rows = splits[split]
    check_rows(repo, len(rows))
    found = rows.column_names
    values = _from_arrow(rows.select_columns(wanted(found, settings.columns)).with_format("arrow")[:], repo)
    return Table(repo, licence or card_licence, len(rows), found, values)
