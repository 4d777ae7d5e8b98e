"""Convert a source's columns, as read, to the three text columns, or raise a one-sentence error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..config.run_config import Columns
from ..errors import DataError
from ..text.plain_text import counted, shortened
from .cell_text import is_empty, text_in
from .column_roles import check_left_out, find_left_out, left_out_sentence
from .columns import ColumnsError, as_settings, conversations_in, propose
from .conversations import are_messages, side, unfold
from .newlines import unified
from .text_column import Pieces

if TYPE_CHECKING:
    import datasets
    import pyarrow


@dataclass(frozen=True)
class Table:
    """A source as read, unchecked. ``found``: all its column names. ``columns``: values of the needed ones.

    ``notes``: sentences about its rows for a person to read.
    """

    name: str
    licence: str
    rows: int
    found: list[str]
    columns: dict[str, Pieces]
    notes: tuple[str, ...] = ()


# The result of a reader: all column names, the number of rows, the values of the needed columns.
Read = tuple[list[str], int, dict[str, Pieces]]


def to_dataset(table: Table, columns: Columns, *, unify_newlines: bool = False) -> datasets.Dataset:
    """Return the three text columns after all checks. Raises DataError if one fails.

    ``unify_newlines`` writes every line end as ``\\n``.
    """
    import datasets
    import pyarrow
    from datasets.fingerprint import generate_random_fingerprint
    from datasets.table import InMemoryTable

    if not table.rows:
        raise DataError(f"{table.name} has no rows: give it some, or choose another dataset.")
    conversations = conversations_in(table.found, columns, lambda name: _holds_text(table, name))
    _check_names(table, columns, conversations)
    check_left_out(table.name, table.found, table.columns, columns)
    systems = _texts(table, columns, "system") if columns.system else None
    if conversations:
        instructions, outputs = unfold(table.columns[conversations], table.name, conversations, columns.ignore)
        unfolded = {Columns.instruction: Pieces(instructions), Columns.output: Pieces(outputs)}
        # A column that happens to be named "input" is not part of the conversation.
        more = {name: table.columns[name] for name in _named_input(columns)}
        table = replace(table, found=[*unfolded, *more], columns={**unfolded, **more})
    texts = {
        "instruction": _texts(table, columns, "instruction"),
        "input": _input_texts(table, columns),
        "output": _texts(table, columns, "output"),
    }
    if systems is not None:
        of_messages = bool(conversations) or _holds_messages(table.columns[columns.instruction])
        texts["instruction"] = _prepend_systems(systems, texts["instruction"], of_messages)
    if unify_newlines:
        texts = {part: unified(column) for part, column in texts.items()}
    # The library's own fingerprint would copy all rows to hash them, for a cache that this lab does not use.
    return datasets.Dataset(
        InMemoryTable(pyarrow.table(texts)),
        datasets.DatasetInfo(features=datasets.Features(dict.fromkeys(texts, datasets.Value("string")))),
        fingerprint=generate_random_fingerprint(),
    )


def _named_input(columns: Columns) -> list[str]:
    """Return the input column if the settings name it explicitly. The default one is optional."""
    return [] if columns.input in (None, Columns.input) else [columns.input]


def _check_names(table: Table, columns: Columns, conversations: str | None) -> None:
    fields = [] if conversations else ["instruction", "output"]
    fields += ["input"] if _named_input(columns) else []
    fields += ["system"] if columns.system is not None else []
    named = {field: getattr(columns, field) for field in fields}
    missing = [field for field, column in named.items() if column not in table.found]
    if not missing:
        return
    proposal = _proposal(table, columns)
    remedy = (
        f"set {as_settings(proposal, columns, table.found)}"
        if proposal
        else f"set {' and '.join(f'data.columns.{field}' for field in missing)} to the names it uses"
    )
    unmapped = find_left_out(table.found, table.columns, proposal or columns)
    # Else the settings that the first sentence advises would run into this second error.
    second_sentence = f" {left_out_sentence(table.name, unmapped, proposal or columns)[0]}" if unmapped else ""
    raise ColumnsError(
        f"{table.name} has no column {' and no column '.join(repr(named[field]) for field in missing)}, "
        f"it has {listed(table.found)}: {remedy}.{second_sentence}",
        table.found,
        None if unmapped else proposal,
    )


def _proposal(table: Table, columns: Columns) -> Columns | None:
    """Propose columns from names and values, keeping ``columns.ignore``; None if that changes nothing."""
    proposal = propose([n for n in table.found if n not in columns.ignore], lambda name: _holds_text(table, name))
    proposal = proposal and replace(proposal, ignore=columns.ignore)
    return None if proposal == columns else proposal


MAX_LOOKED_AT = 1000
"""Values of a column that are examined before it is proposed."""


def _holds_text(table: Table, name: str) -> bool:
    """Whether most values of a column are texts, or lists that hold one; True if the column was not read."""
    if name not in table.columns:
        return True
    values = list(islice((value for value in table.columns[name] if not is_empty(value)), MAX_LOOKED_AT))
    texts = sum(isinstance(text_in(value), str) or are_messages(value) for value in values)
    return 2 * texts >= max(1, len(values))


def _input_texts(table: Table, columns: Columns) -> pyarrow.ChunkedArray:
    if columns.input is None or columns.input not in table.found:
        return Pieces([None] * table.rows).texts()
    return _texts(table, columns, "input")


def _texts(table: Table, columns: Columns, part: str) -> pyarrow.ChunkedArray:
    """Return the texts of the column that ``columns`` names for ``part``: instruction, input, output or system."""
    column = getattr(columns, part)
    pieces = _read_lists(table, column, part, columns.ignore)
    may_be_null = part in ("input", "system")
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


def _read_lists(table: Table, column: str, part: str, ignored: Sequence[str]) -> Pieces:
    """Replace each list or object that holds one text by that text. Raises DataError for other messages."""
    pieces = table.columns[column]
    if not any(isinstance(value, list | dict) for _, value in pieces.doubtful()):
        return pieces
    texts: list[Any] = []
    refused: list[tuple[int, str]] = []
    for number, value in enumerate(pieces, start=1):
        text = text_in(value)
        if part in ("instruction", "output") and are_messages(value):
            parsed = side(value, part == "output", ignored)
            text = None if isinstance(parsed, str) else parsed[0]
            if isinstance(parsed, str):
                refused.append((number, parsed))
        texts.append(text)
    if refused:
        number, reason = refused[0]
        raise DataError(
            f"Column {column!r} of {table.name} holds messages that are not one {part} in "
            f"{counted(len(refused), 'row')}, the first is row {number} ({reason}): remove these rows."
        )
    return Pieces(texts)


def _holds_messages(pieces: Pieces) -> bool:
    return any(are_messages(value) for _, value in pieces.doubtful())


def _prepend_systems(
    systems: pyarrow.ChunkedArray, instructions: pyarrow.ChunkedArray, of_messages: bool
) -> pyarrow.ChunkedArray:
    """Put each system prompt in front of its instruction, unless messages put it there already."""

    def joined() -> Iterator[str]:
        for system, instruction in zip(systems.to_pylist(), instructions.to_pylist(), strict=True):
            is_prefixed = of_messages and f"{instruction}\n\n".startswith(f"{system}\n\n")
            yield instruction if is_prefixed or not system.strip() else "\n\n".join(filter(None, (system, instruction)))

    return Pieces(list(joined())).texts()


def _is_broken_text(value: str | None) -> bool:
    # JSON can encode a lone surrogate ("\ud83d"), which no tokenizer or file accepts as text.
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        return True
    return False


# What a value can be instead of a text, in the order of the checks: (test, fault, remedy).
_FAULTS: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (lambda value: value is None, "is null or missing", "fill these rows in, or remove them"),
    (
        lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
        "holds several texts",
        "keep one of them in each row, or name another column in data.columns",
    ),
    (
        lambda value: isinstance(value, date),
        "holds dates instead of text",
        # A dataset's library reads a column of a JSON file in which all texts are dates so.
        "write them as text; if the Hub's file does so, download it and give its path",
    ),
    (
        lambda value: not isinstance(value, str),
        "holds {kind} instead of text",
        "write it as text, or name another column in data.columns",
    ),
    (_is_broken_text, "holds half a character (a lone surrogate)", "mend the text, or remove these rows"),
)


def kind_of(value: Any) -> str:
    """Return the kind of a value in plain words."""
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


def listed(names: Sequence[str], most: int = 8) -> str:
    shown = [repr(shortened(name, 40, "...")) for name in names[:most]]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(shown) or "none") + more
