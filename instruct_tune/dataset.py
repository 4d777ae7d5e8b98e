"""From a dataset's name to the rows a model is trained and measured on.

The order is the lesson's, with the lesson's library: load, filter, shuffle, split, and only then
cap the training rows. Any other order gives other rows than the notebook. Files are read here and
not by ``load_dataset``, which turns numbers and dates into other types before anyone can say in
which row they stand, and keeps a cache that a changed file or a second thread could trip over.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import hub
from .errors import DataError, HubError
from .settings import Columns, DataSettings, Filter

if TYPE_CHECKING:
    import datasets
    import pyarrow

BUNDLED_FILE = Path(__file__).resolve().parents[1] / "assets" / "instructions.jsonl"
BUNDLED_LICENCE = "CC0-1.0"
CODEALPACA_REPO = "sahil2801/CodeAlpaca-20k"
CODEALPACA_LICENCE = "CC BY 4.0 on its Hub card; the original project's data is CC BY-NC 4.0"
UNKNOWN_LICENCE = "unknown"

HUB_PREFIX = "hub:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
HUB_INFO_SECONDS = 10.0


@dataclass(frozen=True)
class Example:
    """One row: what is asked, on what (often empty), and the answer to learn."""

    instruction: str
    input: str
    output: str


@dataclass(frozen=True)
class LedgerEntry:
    """What one filter kept and dropped."""

    step: str
    kept: int
    dropped: int


@dataclass(frozen=True)
class Splits:
    """The rows to train on and the rows held out, with how they came about.

    ``train`` and ``test`` have the columns instruction, input and output, all texts. The ledger
    starts from ``rows_loaded``; ``train`` may be capped below ``train_rows_before_limit``.
    ``fingerprint`` is a hash of the rows themselves, in their order.
    """

    source: str
    licence: str
    rows_loaded: int
    ledger: tuple[LedgerEntry, ...]
    train: datasets.Dataset
    test: datasets.Dataset
    train_rows_before_limit: int
    fingerprint: str


def load_splits(settings: DataSettings) -> Splits:
    """Load, map columns, filter, shuffle, split, and cap the training rows.

    Raises DataError where the data cannot be used, HubError where the Hub does not give it.
    """
    import datasets

    datasets.disable_progress_bars()
    table = _load_table(settings)
    rows = _to_dataset(table, settings.columns)
    kept, ledger = _filter(rows, settings.filters, table.name)
    train, test = _split(kept, settings, table.name)
    capped = train if settings.limit is None else train.select(range(min(settings.limit, len(train))))
    return Splits(
        source=settings.source,
        licence=table.licence,
        rows_loaded=len(rows),
        ledger=ledger,
        train=capped,
        test=test,
        train_rows_before_limit=len(train),
        fingerprint=_fingerprint(capped, test),
    )


def examples(dataset: datasets.Dataset, start: int = 0, count: int | None = None) -> list[Example]:
    """``count`` rows from ``start`` on (all, where it is None)."""
    rows = dataset[start : None if count is None else start + count]
    return [Example(*texts) for texts in zip(rows["instruction"], rows["input"], rows["output"], strict=True)]


def take_evaluation_rows(test: datasets.Dataset, evaluation_rows: int | None) -> datasets.Dataset:
    """The first ``evaluation_rows`` held-out rows; all of them where it is None."""
    return test if evaluation_rows is None else test.select(range(min(evaluation_rows, len(test))))


def take_probe_rows(test: datasets.Dataset, evaluation_rows: int | None, probe_rows: int) -> datasets.Dataset:
    """Up to ``probe_rows`` held-out rows that no evaluation sees: those after the evaluation's."""
    start = len(take_evaluation_rows(test, evaluation_rows))
    # A list, since select() refuses an empty range that starts at the end.
    return test.select(list(range(start, min(start + probe_rows, len(test)))))


# The recipe


def _has_no_input(row: dict[str, str]) -> bool:
    return row["input"] == ""


def _has_input(row: dict[str, str]) -> bool:
    return row["input"] != ""


def _is_complete(row: dict[str, str]) -> bool:
    return bool(row["instruction"].strip() and row["output"].strip())


_KEEPS: dict[str, Callable[[dict[str, str]], bool]] = {
    "without_input": _has_no_input,
    "with_input": _has_input,
    "drop_empty": _is_complete,
}


def _filter(
    rows: datasets.Dataset, filters: Sequence[Filter], name: str
) -> tuple[datasets.Dataset, tuple[LedgerEntry, ...]]:
    ledger = []
    for step in (each.step for each in filters):
        kept = rows.filter(_KEEPS[step], keep_in_memory=True)
        ledger.append(LedgerEntry(step, len(kept), len(rows) - len(kept)))
        if not len(kept):
            raise DataError(
                f"The filter {step} left none of the {_count(len(rows), 'row')} of {name}: "
                "remove it from data.filters, or choose another dataset."
            )
        rows = kept
    return rows, tuple(ledger)


def _split(rows: datasets.Dataset, settings: DataSettings, name: str) -> tuple[datasets.Dataset, datasets.Dataset]:
    # The held-out part is rounded up, so it is the training part that can come out empty.
    if math.ceil(settings.test_size * len(rows)) >= len(rows):
        raise DataError(
            f"{name} has {_count(len(rows), 'row')} to split, and data.test_size {settings.test_size} "
            "leaves none to train on: give it more rows, or keep more of them."
        )
    shuffled = rows.shuffle(seed=settings.seed, keep_in_memory=True)
    parts = shuffled.train_test_split(test_size=settings.test_size, seed=settings.seed, keep_in_memory=True)
    return parts["train"], parts["test"]


def _fingerprint(train: datasets.Dataset, test: datasets.Dataset) -> str:
    # Not the library's fingerprint: that one is about how a dataset was made, not what is in it.
    digest = hashlib.sha256()
    for part, rows in (("train", train), ("test", test)):
        digest.update(f"{part} {len(rows)}\n".encode())
        for row in examples(rows):
            digest.update(json.dumps([row.instruction, row.input, row.output]).encode() + b"\n")
    return digest.hexdigest()[:16]


# Columns


@dataclass(frozen=True)
class _Table:
    """A source as it was read, nothing checked: the names it has, and the values of those wanted."""

    name: str
    licence: str
    rows: int
    found: list[str]
    columns: dict[str, list[Any]]


def _to_dataset(table: _Table, columns: Columns) -> datasets.Dataset:
    """The three text columns, after everything that could be wrong with them has been looked at."""
    import datasets

    if not table.rows:
        raise DataError(f"{table.name} has no rows: give it some, or choose another dataset.")
    _check_names(table, columns)
    texts = {
        "instruction": _texts(table, columns.instruction, may_be_null=False),
        "input": _input_texts(table, columns.input),
        "output": _texts(table, columns.output, may_be_null=False),
    }
    return datasets.Dataset.from_dict(texts, features=datasets.Features(dict.fromkeys(texts, datasets.Value("string"))))


def _check_names(table: _Table, columns: Columns) -> None:
    wanted = {"instruction": columns.instruction, "output": columns.output}
    # Many datasets have no input and need none; one that was asked for by its own name must be there.
    if columns.input not in (None, Columns.input):
        wanted["input"] = columns.input
    missing = [field for field, column in wanted.items() if column not in table.found]
    if missing:
        raise DataError(
            f"{table.name} has no column {' and no column '.join(repr(wanted[field]) for field in missing)}, "
            f"it has {_listed(table.found)}: set {' and '.join(f'data.columns.{field}' for field in missing)} "
            "to the names it uses."
        )


def _input_texts(table: _Table, column: str | None) -> list[str]:
    if column is None or column not in table.found:
        return [""] * table.rows
    return _texts(table, column, may_be_null=True)


def _texts(table: _Table, column: str, *, may_be_null: bool) -> list[str]:
    values = table.columns[column]
    if may_be_null:
        values = ["" if value is None else value for value in values]
    for is_faulty, fault, remedy in _FAULTS:
        faulty = [number for number, value in enumerate(values, start=1) if is_faulty(value)]
        if faulty:
            fault = fault.format(kind=_kind(values[faulty[0] - 1]))
            raise DataError(
                f"Column {column!r} of {table.name} {fault} in {_count(len(faulty), 'row')}, "
                f"the first is row {faulty[0]}: {remedy}."
            )
    return values


def _is_broken_text(value: str) -> bool:
    # JSON can spell half a character ("\ud83d"), which is no text to any tokenizer or file.
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


# What a value can be instead of a text, in the order it is looked for: (test, fault, remedy).
_FAULTS: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (lambda value: value is None, "is null or missing", "fill these rows in, or remove them"),
    (
        lambda value: not isinstance(value, str),
        "holds {kind} instead of text",
        "write it as text, or name another column in data.columns",
    ),
    (_is_broken_text, "holds half a character (a lone surrogate)", "mend the text, or remove these rows"),
)


def _kind(value: Any) -> str:
    """What a value is, in a person's words."""
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        bytes: "raw bytes",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = [repr(name if len(name) <= 40 else name[:37] + "...") for name in names[:most]]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(shown) or "none") + more


# Sources


def _load_table(settings: DataSettings) -> _Table:
    source, columns = settings.source, settings.columns
    if source == "bundled":
        return _load_file(BUNDLED_FILE, settings, BUNDLED_LICENCE)
    if source == "codealpaca-20k":
        return _load_hub(CODEALPACA_REPO, settings.split, columns, CODEALPACA_LICENCE)
    if source.startswith(HUB_PREFIX):
        return _load_hub(source.removeprefix(HUB_PREFIX), settings.split, columns)
    return _load_file(Path(source), settings, UNKNOWN_LICENCE)


def _load_file(path: Path, settings: DataSettings, licence: str) -> _Table:
    path = _existing_file(path)
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path.name} is not a kind of file that is read here: give one of {', '.join(_READERS)}.")
    if settings.split != "train":
        raise DataError(
            f"{path.name} has no split {settings.split!r}, a file has one split: set data.split to 'train'."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be read ({error.strerror}): check the file and who may read it."
        ) from error
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"{path.name} is empty: give a file with rows.")
    found, rows, columns = read(content, path.name, settings.columns)
    return _Table(path.name, licence, rows, found, columns)


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
_Read = tuple[list[str], int, dict[str, list[Any]]]


def _wanted(found: Sequence[str], columns: Columns) -> list[str]:
    return [name for name in found if name in (columns.instruction, columns.input, columns.output)]


def _from_records(records: Sequence[dict[str, Any]], columns: Columns) -> _Read:
    found = list(dict.fromkeys(name for record in records for name in record))
    values = {name: [record.get(name) for record in records] for name in _wanted(found, columns)}
    return found, len(records), values


def _from_arrow(table: pyarrow.Table, name: str, columns: Columns) -> _Read:
    values = {}
    for column in _wanted(table.column_names, columns):
        try:
            values[column] = table[column].to_pylist()
        except (ValueError, OverflowError) as error:  # bytes that are no UTF-8, dates beyond the calendar
            raise DataError(
                f"Column {column!r} of {name} cannot be read as text: write it as UTF-8 text, "
                "or name another column in data.columns."
            ) from error
    return table.column_names, table.num_rows, values


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8 text (byte {error.start + 1:,} is the first that is wrong): save it as UTF-8."
        ) from error


def _read_json(content: bytes, name: str, columns: Columns) -> _Read:
    """A list of objects, or one object a line, whichever the file holds and whatever its ending."""
    text = _decode(content, name)
    if text.lstrip().startswith("["):
        rows = _parse_json(text, name)
    elif _is_one_object(text):
        raise DataError(f"{name} holds one JSON object, not rows: make it a list of objects, or one object a line.")
    else:
        # Not splitlines(), which also splits at separators that may stand inside a JSON text.
        lines = enumerate(text.split("\n"), start=1)
        rows = [_parse_json(line, name, number) for number, line in lines if line.strip()]
    strangers = [number for number, row in enumerate(rows, start=1) if not isinstance(row, dict)]
    if strangers:
        raise DataError(
            f"{name} holds {_kind(rows[strangers[0] - 1])} where an object with instruction and output should be, "
            f"in {_count(len(strangers), 'row')}, the first is row {strangers[0]}: make every row an object."
        )
    return _from_records(rows, columns)


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


def _read_csv(content: bytes, name: str, columns: Columns) -> _Read:
    """Every cell is the text it was written as: a number, NA and null too."""
    text = _decode(content, name)
    csv.field_size_limit(2**31 - 1)  # the default refuses a cell of more than 131,072 characters
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [cells for cells in reader if cells]
    except csv.Error as error:
        raise DataError(
            f"{name} is not well-formed CSV at line {reader.line_num} ({error}): "
            "check the quotes there and before, or export the file again."
        ) from error
    header, *rows = lines
    _check_shape(name, header, rows)
    return header, len(rows), _from_records([dict(zip(header, row, strict=True)) for row in rows], columns)[2]


def _check_shape(name: str, header: list[str], rows: list[list[str]]) -> None:
    twice = [column for column in dict.fromkeys(header) if column and header.count(column) > 1]
    if twice:
        raise DataError(f"{name} has more than one column {twice[0]!r}: rename or remove one of them.")
    uneven = [number for number, row in enumerate(rows, start=1) if len(row) != len(header)]
    if uneven:
        cells = _count(len(rows[uneven[0] - 1]), "cell")
        raise DataError(
            f"Row {uneven[0]} of {name} has {cells} where the header has {len(header)}: "
            "put quotes around cells that hold a comma, a quote or a new line."
        )


def _read_parquet(content: bytes, name: str, columns: Columns) -> _Read:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(content)).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{name} is not a readable parquet file: it is damaged or cut short, export it again."
        ) from error
    return _from_arrow(table, name, columns)


_READERS: dict[str, Callable[[bytes, str, Columns], _Read]] = {
    ".json": _read_json,
    ".jsonl": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


# The Hub


def _load_hub(repo: str, split: str, columns: Columns, licence: str | None = None) -> _Table:
    if not HUB_ID.fullmatch(repo):
        raise DataError(f"{repo!r} is not a Hub dataset: write hub:OWNER/NAME.")
    if hub.hub_reachable():
        card_licence = _ask_hub(repo)
        splits = _download(repo)
    else:
        card_licence = UNKNOWN_LICENCE
        splits = _load_cached(repo)
    if split not in splits:
        raise DataError(f"{repo} has no split {split!r}: set data.split to one of {_listed(list(splits))}.")
    found, rows, values = _from_arrow(splits[split].with_format("arrow")[:], repo, columns)
    return _Table(repo, licence or card_licence, rows, found, values)


def _ask_hub(repo: str) -> str:
    """The licence on the dataset's card, having made sure that the Hub would give us the dataset."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx  # its own: the errors of the package httpx are other classes

    api = HfApi()
    try:
        info = api.dataset_info(repo, timeout=HUB_INFO_SECONDS)
        # Asked for here since load_dataset says "not found" of both a gated and a missing one.
        if info.gated:
            api.auth_check(repo, repo_type="dataset")
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise hub.explain(error, repo) from error
    licence = info.card_data.license if info.card_data else None
    return ", ".join(licence) if isinstance(licence, list) else licence or UNKNOWN_LICENCE


def _download(repo: str) -> datasets.DatasetDict:
    import datasets
    from huggingface_hub.utils import httpx

    try:
        return datasets.load_dataset(repo)
    except (datasets.exceptions.DatasetsError, RuntimeError) as error:
        raise _unusable(repo, error) from error
    except (httpx.HTTPError, OSError) as error:
        raise hub.explain(error, repo) from error
    except ValueError as error:  # last, since some of the Hub's refusals are ValueErrors too
        raise _unusable(repo, error) from error


def _unusable(repo: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 200 else reason[:197] + "..."
    return DataError(
        f"{repo} cannot be used as the Hub has it ({reason}): download the file you want and give its path."
    )


def _load_cached(repo: str) -> datasets.DatasetDict:
    """What an earlier load_dataset left on this machine: what the library itself does when offline."""
    from datasets import config
    from datasets.packaged_modules.cache.cache import Cache

    try:
        builder = Cache(repo_id=repo, dataset_name=repo.partition("/")[2], version="auto", hash="auto")
        return builder.as_dataset()
    except (ValueError, KeyError, OSError) as error:  # not there, or not whole
        raise HubError(
            f"The Hub cannot be reached, and {config.HF_DATASETS_CACHE} has no usable copy of {repo}: "
            "use the bundled dataset (data.source=bundled) or a local file, or try again with a network."
        ) from error
