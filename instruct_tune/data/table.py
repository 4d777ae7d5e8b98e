"""A source's columns as they were read → the three text columns, or one sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..settings import Columns
from .columns import ColumnsError, as_settings, conversations_in, propose
from .conversation import unfold
from .pieces import Pieces

if TYPE_CHECKING:
    import datasets
    import pyarrow


@dataclass(frozen=True)
class Table:
    """A source as it was read, nothing checked: the names it has, and the values of those wanted."""

    name: str
    licence: str
    rows: int
    found: list[str]
    columns: dict[str, Pieces]


# What a reader gives: the names found, the number of rows, the values of the wanted columns.
Read = tuple[list[str], int, dict[str, Pieces]]


def to_dataset(table: Table, columns: Columns) -> datasets.Dataset:
    """The three text columns, after everything that could be wrong with them has been looked at."""
    import datasets
    import pyarrow
    from datasets.fingerprint import generate_random_fingerprint
    from datasets.table import InMemoryTable

    if not table.rows:
        raise DataError(f"{table.name} has no rows: give it some, or choose another dataset.")
    if column := conversations_in(table.found, columns):
        instructions, outputs = unfold(table.columns[column], table.name, column)
        unfolded = {Columns.instruction: Pieces(instructions), Columns.output: Pieces(outputs)}
        table = replace(table, found=list(unfolded), columns=unfolded)
    _check_names(table, columns)
    texts = {
        "instruction": _texts(table, columns.instruction, may_be_null=False),
        "input": _input_texts(table, columns.input),
        "output": _texts(table, columns.output, may_be_null=False),
    }
    # A fingerprint of the library's own would copy all rows to hash them, for a cache that nothing here uses.
    return datasets.Dataset(
        InMemoryTable(pyarrow.table(texts)),
        datasets.DatasetInfo(features=datasets.Features(dict.fromkeys(texts, datasets.Value("string")))),
        fingerprint=generate_random_fingerprint(),
    )


def _check_names(table: Table, columns: Columns) -> None:
    wanted = {"instruction": columns.instruction, "output": columns.output}
    # Many datasets have no input and need none; one that was asked for by its own name must be there.
    if columns.input not in (None, Columns.input):
        wanted["input"] = columns.input
    missing = [field for field, column in wanted.items() if column not in table.found]
    if not missing:
        return
    proposal = propose(table.found)
    remedy = (
        f"set {as_settings(proposal, columns, table.found)}"
        if proposal
        else f"set {' and '.join(f'data.columns.{field}' for field in missing)} to the names it uses"
    )
    raise ColumnsError(
        f"{table.name} has no column {' and no column '.join(repr(wanted[field]) for field in missing)}, "
        f"it has {listed(table.found)}: {remedy}.",
        table.found,
        proposal,
    )


def _input_texts(table: Table, column: str | None) -> pyarrow.ChunkedArray:
    if column is None or column not in table.found:
        return Pieces([None] * table.rows).texts()
    return _texts(table, column, may_be_null=True)


def _texts(table: Table, column: str, *, may_be_null: bool) -> pyarrow.ChunkedArray:
    pieces = table.columns[column]
    for is_faulty, fault, remedy in _FAULTS:
        faulty = [(number, value) for number, value in pieces.doubtful() if is_faulty(value)]
        if may_be_null:
            faulty = [(number, value) for number, value in faulty if value is not None]
        if faulty:
            number, value = faulty[0]
            raise DataError(
                f"Column {column!r} of {table.name} {fault.format(kind=kind_of(value))} in "
                f"{counted(len(faulty), 'row')}, the first is row {number}: {remedy}."
            )
    return pieces.texts()


def _is_broken_text(value: str | None) -> bool:
    # JSON can spell half a character ("\ud83d"), which is no text to any tokenizer or file.
    try:
        (value or "").encode()
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


def kind_of(value: Any) -> str:
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


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def listed(names: Sequence[str], most: int = 8) -> str:
    shown = [repr(name if len(name) <= 40 else name[:37] + "...") for name in names[:most]]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(shown) or "none") + more
