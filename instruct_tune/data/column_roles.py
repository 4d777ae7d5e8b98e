"""Find non-empty columns that change what a row means; dropping them silently would train on different rows.

A system prompt can go in front of the instruction. Tools, earlier turns and pictures have no place in a row of three
texts, nor has a verdict that marks the answer as bad.
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
from .columns import ColumnsError, can_be_input, is_referred_to, is_system, is_verdict, left_out


@dataclass(frozen=True)
class LeftOut:
    """A column that changes what a row means in ``rows`` rows; the first of them is row ``first`` (from 1)."""

    name: str
    rows: int
    first: int
    is_text: bool = False
    is_verdict: bool = False


def find_left_out(names: Sequence[str], values: Mapping[str, Iterable[Any]], columns: Columns) -> list[LeftOut]:
    """Return the columns that change what a row means and that ``columns`` does not name."""
    parts = [_summarise_column(name, values[name]) for name in left_out(names, columns) if name in values]
    return [part for part in parts if part.rows]


def check_left_out(name: str, names: Sequence[str], values: Mapping[str, Iterable[Any]], columns: Columns) -> None:
    """Raise DataError if the source ``name`` holds such columns; ColumnsError if a setting can map the only one."""
    parts = find_left_out(names, values, columns)
    if not parts:
        return
    present = replace(columns, input=columns.input if columns.input in names else None)
    message, mapped = left_out_sentence(name, parts, present)
    if len(parts) == 1 and mapped:
        raise ColumnsError(message, names, replace(columns, system=mapped))
    raise DataError(message)


def left_out_sentence(name: str, parts: Sequence[LeftOut], columns: Columns) -> tuple[str, str | None]:
    """Return a message (what is left out, what to do) and the column that can be mapped as system prompt, or None."""
    places = " and ".join(
        f"{part.name!r} {'is false ' if part.is_verdict else ''}in {counted(part.rows, 'row')}, "
        f"the first is row {part.first}"
        for part in parts
    )
    systems = [part.name for part in parts if part.is_text and is_system(part.name)]
    mapped = systems[0] if systems and columns.system is None else None
    inputs = [part.name for part in parts if part.is_text and can_be_input(part.name)]
    verdicts = [part.name for part in parts if part.is_verdict]
    others = [part.name for part in parts if part.name not in (mapped, *verdicts)]
    ways = []
    if mapped:
        ways.append(f"set {shlex.quote(f'data.columns.system={mapped}')} to put {mapped!r} in front of the instruction")
    if inputs and columns.input is None:
        ways.append(f"set {shlex.quote(f'data.columns.input={inputs[0]}')} to make {inputs[0]!r} the input")
    if held_nowhere := [each for each in others if columns.input is not None or each not in inputs[:1]]:
        ways.append(
            f"remove the rows with {' and '.join(map(repr, held_nowhere))}, which no instruction, input or output can "
            "hold"
        )
    if verdicts:
        ways.append(f"remove the rows where {' or '.join(map(repr, verdicts))} is false, which marks a bad answer")
    ignored = json.dumps([*columns.ignore, *(others + verdicts or [part.name for part in parts])], ensure_ascii=False)
    purpose = f"train without {'them' if others else 'it'}" if others or not verdicts else "train on them all the same"
    ways.append(f"or set {shlex.quote(f'data.columns.ignore={ignored}')} to {purpose}")
    return f"{name} has more than instructions, inputs and outputs: {places}. {_capital(', '.join(ways))}.", mapped


def _summarise_column(name: str, values: Iterable[Any]) -> LeftOut:
    if is_verdict(name):
        return _summarise_verdicts(name, values)
    may_be_text = is_referred_to(name)
    rows = first = 0
    is_text = True
    for number, value in enumerate(values, start=1):
        if not is_empty(value) and not (may_be_text and not isinstance(text_in(value), list | dict)):
            rows, first = rows + 1, first or number
            is_text = is_text and isinstance(text_in(value), str)
    return LeftOut(name, rows, first, is_text)


def _summarise_verdicts(name: str, values: Iterable[Any]) -> LeftOut:
    """Summarise the rows of ``false``; none if a value is no boolean, since a label may be a category."""
    rows = first = 0
    for number, value in enumerate(values, start=1):
        # The cells of a CSV file are texts.
        verdict = _BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else value
        if is_empty(value):
            continue
        if not isinstance(verdict, bool):
            return LeftOut(name, 0, 0)
        if not verdict:
            rows, first = rows + 1, first or number
    return LeftOut(name, rows, first, is_verdict=True)


_BOOLEANS = {"true": True, "false": False}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
