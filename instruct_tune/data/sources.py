"""Read rows from the bundled file, the Hub, or a file on this machine.

Files are not read with ``load_dataset``: it converts numbers and dates to other types, so an error could not name
the row, and it keeps a cache that a changed file or a second thread could break.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..config.catalog import CODEALPACA_REPO
from ..config.environment import MEGABYTE, check_rows, check_text, max_upload_bytes
from ..config.run_config import Columns, DataSettings
from ..errors import DataError
from ..pretrained import git_lfs
from ..text.plain_text import counted
from ..util.assets import asset
from ..util.progress import Loading
from . import hub
from .arrow_json import json_decoder
from .columns import wanted
from .file_formats import ENDINGS, NAMED, ending_of, unpacked
from .hub import UNKNOWN_LICENCE
from .json_reader import read_json
from .table import Read, Table, listed
from .text_column import Pieces
from .upload_names import uploaded_as
from .utf8 import decode

if TYPE_CHECKING:
    import pyarrow

BUNDLED_FILE = asset("instructions.jsonl")
BUNDLED_LICENCE = "CC0-1.0"
CODEALPACA_LICENCE = "CC BY 4.0 on its Hub card; the original project's data is CC BY-NC 4.0"

HUB_PREFIX = "hub:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def is_on_hub(source: str) -> bool:
    """Whether the source is a dataset of the Hub; else it is a file on this machine."""
    return hub_repository(source) is not None


def hub_repository(source: str) -> str | None:
    """The Hub's id of the dataset; None for a file on this machine."""
    if source == "codealpaca-20k":
        return CODEALPACA_REPO
    return source.removeprefix(HUB_PREFIX) if source.startswith(HUB_PREFIX) else None


def load_table(settings: DataSettings, loading: Loading) -> Table:
    """Read the source ``settings.source``. ``loading`` reports progress and can cancel."""
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
    ending = ending_of(path)
    if ending not in ENDINGS:
        raise DataError(f"{name} is not a kind of file that is read here: give one of {NAMED}.")
    read = _READERS[ending.removesuffix(".gz")]
    # A compressed upload may decompress to the size limit of an uncompressed one.
    most = max_upload_bytes() if uploaded_as(path) else None
    if settings.split != "train":
        raise DataError(f"{name} has no split {settings.split!r}, a file has one split: set data.split to 'train'.")
    loading.enter(f"Reading {name}")
    try:
        with path.open("rb") as on_disk:
            if git_lfs.is_pointer(on_disk):
                raise DataError(f"{name} is a Git LFS pointer, not the file itself: {git_lfs.ADVICE}.")
            on_disk.seek(0)
            file = unpacked(on_disk, ending, name, most)
            if _is_blank(file):
                raise DataError(f"{name} is empty: give a file with rows.")
            file.seek(0)
            names, rows, columns = read(file, name, settings.columns)
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror}): check the file and who may read it.") from error
    return Table(name, licence, rows, names, columns)


def _is_blank(file: BinaryIO) -> bool:
    """Whether the file holds only white space, apart from a byte order mark."""
    content = file.read(MEGABYTE).removeprefix(codecs.BOM_UTF8)
    while content and not content.strip():
        content = file.read(MEGABYTE)
    return not content


def _existing_file(path: Path) -> Path:
    # os.path returns False where Path raises, for example for a name that is too long.
    shown = os.path.expanduser(path)
    if os.path.isdir(shown):
        raise DataError(f"{path} is a directory: give one file in it ({NAMED}).")
    if not os.path.isfile(shown):
        raise DataError(
            f"There is no file {path}: give the path to a file ({NAMED}), "
            "or one of bundled, codealpaca-20k and hub:OWNER/NAME."
        )
    return Path(shown)


def _from_arrow(table: pyarrow.Table, name: str) -> dict[str, Pieces]:
    values = {}
    for column in table.column_names:
        values[column] = Pieces()
        read = json_decoder(table.schema.field(column).type)
        try:
            for chunk in table[column].chunks:
                values[column].append([read(value) for value in chunk.to_pylist()] if read else chunk.to_pylist())
        except (ValueError, OverflowError, RecursionError) as error:  # invalid UTF-8, or dates out of range
            raise DataError(
                f"Column {column!r} of {name} cannot be read as text: write it as UTF-8 text, "
                "or name another column in data.columns."
            ) from error
    return values


def _read_csv(file: BinaryIO, name: str, columns: Columns, mark: str | None = None) -> Read:
    """Read a CSV file with every cell as text, also numbers, NA and null. ``mark``: the separator, if known."""
    # The default rejects a cell of more than 131,072 characters. The separator is looked for with it, too.
    csv.field_size_limit(2**31 - 1)
    mark, text, skipped = cells_of(decode(file.read(), name), mark)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    lines = []
    try:
        for cells in reader:
            if cells:
                lines.append(cells)
                check_rows(name, len(lines) - 1, counting=True)
    except csv.Error as error:
        raise DataError(
            f"{name} is not well-formed CSV at line {reader.line_num + skipped} ({error}): "
            "check the quotes there and before, or export the file again."
        ) from error
    if not lines:
        raise DataError(f"{name} has no rows: its first line has to name the columns, each other one is a row.")
    header, *rows = lines
    _check_shape(name, header, rows)
    places = {column: header.index(column) for column in wanted(header, columns)}
    return header, len(rows), {column: Pieces([row[at] for row in rows]) for column, at in places.items()}


_LINE_END = re.compile(r"\r\n?|\n")
"""A lone carriage return ends the lines of spreadsheets that were written on an old Mac."""
SEPARATOR_LINE = re.compile(r'"?sep=([^\s"]|\t)"?[ ,;]*(?:\r\n?|\n|$)', re.IGNORECASE)


def cells_of(text: str, mark: str | None = None) -> tuple[str, str, int]:
    """Return (separator, text of header and rows, number of lines before them) for a CSV file's text.

    Excel may write the separator in a first line of its own, ``sep=;``, which is not the header.
    """
    if named := SEPARATOR_LINE.match(text):
        return named[1], text[named.end() :], 1
    return mark or _delimiter(text), text, 0


def _delimiter(text: str) -> str:
    """Return a comma, unless the first line has no comma but another usual separator."""
    header = _LINE_END.split(text.lstrip(), maxsplit=1)[0]
    cells = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in ",;\t|"}
    return "," if cells[","] > 1 else max(cells, key=lambda mark: cells[mark])


def _check_shape(name: str, header: list[str], rows: list[list[str]]) -> None:
    if not any(cell.strip() for cell in header):
        raise DataError(f"{name} has an empty header: its first line has to name the columns.")
    _check_unique(name, header)
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
    for column, kind in zip(batch.schema.names, (each.type for each in columns), strict=True):
        if "dictionary<" in str(kind):
            # A text stands once in such a file and a thousand times in memory.
            raise DataError(
                f"Column {column!r} holds lists or objects of categories: write them as plain texts, or name another "
                "column in data.columns."
            )
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _check_unique(name: str, names: list[str]) -> None:
    twice = [column for column, times in Counter(names).items() if column and times > 1]
    if twice:
        raise DataError(f"{name} has more than one column {twice[0]!r}: rename or remove one of them.")


def _read_parquet(source: BinaryIO, name: str, columns: Columns) -> Read:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(source)
        names, rows = file.schema_arrow.names, file.metadata.num_rows
        check_rows(name, rows)
        _check_unique(name, names)
        batches, size = [], 0
        # In batches, since dictionary encoding of one long text lets a small file expand to any size.
        for piece in file.iter_batches(batch_size=500, columns=wanted(names, columns)):
            batch = _without_dictionaries(piece)
            size += batch.nbytes
            check_text(name, size)
            batches.append(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{name} is not a readable parquet file: it is damaged or cut short, export it again."
        ) from error
    return names, rows, _from_arrow(pyarrow.Table.from_batches(batches), name) if batches else {}


_READERS: dict[str, Callable[[BinaryIO, str, Columns], Read]] = {
    ".json": read_json,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, mark="\t"),
    ".parquet": _read_parquet,
}


# The Hub


def _load_hub(repo: str, settings: DataSettings, loading: Loading, licence: str | None = None) -> Table:
    if not HUB_ID.fullmatch(repo):
        raise DataError(f"{repo!r} is not a Hub dataset: write hub:OWNER/NAME.")
    splits, card_licence = hub.fetch(repo, loading)
    split = settings.split
    if split not in splits:
        raise DataError(f"{repo} has no split {split!r}: set data.split to one of {listed(list(splits))}.")
    rows = splits[split]
    check_rows(repo, len(rows))
    names = rows.column_names
    values = _from_arrow(rows.select_columns(wanted(names, settings.columns)).with_format("arrow")[:], repo)
    return Table(repo, licence or card_licence, len(rows), names, values)
