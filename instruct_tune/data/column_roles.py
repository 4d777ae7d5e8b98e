"""Find non-empty columns that change what a row means; dropping them silently would train on different rows.

A system prompt can go in front of the instruction. Tools, earlier turns and pictures have no place in a row of three
texts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config.run_config import Columns
from ..errors import DataError
from ..text.plain_text import counted
from .cell_text import is_empty, text_in
from .columns import ColumnsError, is_system, left_out


@dataclass(frozen=True)
class LeftOut:
    """A column that is not empty in ``rows`` rows; the first of them is row ``first`` (from 1)."""

    name: str
    rows: int
    first: int
    is_text: bool


def find_left_out(names: Sequence[str], values: Mapping[str, Iterable[Any]], columns: Columns) -> list[LeftOut]:
    """Return the non-empty columns that change what a row means and that ``columns`` does not name."""
    parts = [_summarise_column(name, values[name]) for name in left_out(names, columns) if name in values]
    return [part for part in parts if part.rows]


def check_left_out(name: str, names: Sequence[str], values: Mapping[str, Iterable[Any]], columns: Columns) -> None:
    """Raise DataError if the source ``name`` holds such columns; ColumnsError if a setting can map the only one."""
    parts = find_left_out(names, values, columns)
    if not parts:
        return
    message, mapped = left_out_sentence(name, parts, columns)
    if len(parts) == 1 and mapped:
        raise ColumnsError(message, names, replace(columns, system=mapped))
    raise DataError(message)


def left_out_sentence(name: str, parts: Sequence[LeftOut], columns: Columns) -> tuple[str, str | None]:
    """Return a message (what is left out, what to do) and the column that can be mapped as system prompt, or None."""
    places = " and ".join(
        f"{part.name!r} in {counted(part.rows, 'row')}, the first is row {part.first}" for part in parts
    )
    systems = [part.name for part in parts if part.is_text and is_system(part.name)]
    mapped = systems[0] if systems and columns.system is None else None
    others = [part.name for part in parts if part.name != mapped]
    ways = []
    if mapped:
        ways.append(f"set {shlex.quote(f'data.columns.system={mapped}')} to put {mapped!r} in front of the instruction")
    if others:
        ways.append(
            f"remove the rows with {' and '.join(map(repr, others))}, which no instruction, input or output can hold"
        )
    ignored = json.dumps([*columns.ignore, *(others or [part.name for part in parts])], ensure_ascii=False)
    ways.append(f"or set {shlex.quote(f'data.columns.ignore={ignored}')} to train without {'them' if others else 'it'}")
    return f"{name} has more than instructions, inputs and outputs: {places}. {_capital(', '.join(ways))}.", mapped


def _summarise_column(name: str, values: Iterable[Any]) -> LeftOut:
    rows = first = 0
    is_text = True
    for number, value in enumerate(values, start=1):
        if not is_empty(value):
            rows, first = rows + 1, first or number
            is_text = is_text and isinstance(text_in(value), str)
    return LeftOut(name, rows, first, is_text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
