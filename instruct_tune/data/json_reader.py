"""Read rows from JSON: a list of objects or one object per line, detected from the content, not the file ending.

JSON lines are read one by one into columns, so a large file takes little more memory than its texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

from ..config.environment import MEGABYTE, check_rows
from ..config.run_config import Columns
from ..errors import DataError
from ..text.plain_text import counted
from .cell_text import from_json, text_in
from .columns import propose, wanted
from .conversations import are_messages
from .json_text import begins_a_list, lines, parse
from .table import Read, kind_of
from .text_column import MAX_VALUES, Pieces
from .utf8 import decode

MAX_WAITING = 4 * MEGABYTE
"""Characters of lines to collect before they are moved into columns."""


def read_json(file: BinaryIO, name: str, columns: Columns) -> Read:
    """Return the rows of ``file``. Raises DataError that names the faulty line or row."""
    # Checked first, since such a list may be a single line as long as the file.
    if begins_a_list(file):
        return from_records(parse(_read_all(file, name), name), name, columns)
    numbered_lines = lines(file, name)
    number, line = next(numbered_lines, (0, ""))
    rows = _Rows(name, columns)
    if line:
        try:
            first = parse(line, name, number)
        except DataError:
            first = _one_object(_read_all(file, name))
            if first is None:
                raise
            numbered_lines = iter(())
        rows.add(first)
        for number, line in numbered_lines:
            rows.add(parse(line, name, number), len(line))
        if rows.count == 1 and isinstance(first, dict) and not _is_row(first, columns):
            raise DataError(
                f"{name} holds one JSON object, not rows: make it a list of objects that each have an instruction and "
                "an output, or one such object a line."
            )
    return rows.done()


def from_records(records: Iterable[Any], name: str, columns: Columns) -> Read:
    """Convert records, whose keys may differ, to columns. Raises DataError if one is not an object."""
    rows = _Rows(name, columns)
    for record in records:
        rows.add(record)
    return rows.done()


class _Rows:
    """Converts rows to columns; only a limited number is held as objects at a time."""

    def __init__(self, name: str, columns: Columns):
        self.count = 0
        self._name, self._mapping = name, columns
        self._names: dict[str, None] = {}
        self._columns: dict[str, Pieces] = {}
        self._pending: list[dict[str, Any]] = []
        self._size = self._packed = 0
        self._not_objects: list[int] = []
        self._other_kind = ""

    def add(self, row: Any, size: int = 0) -> None:
        """Add one row of ``size`` characters."""
        self.count += 1
        if not isinstance(row, dict):
            self._other_kind = self._other_kind or kind_of(row)
            self._not_objects.append(self.count)
            return
        self._pending.append(row)
        self._size += size
        if len(self._pending) >= MAX_VALUES or self._size >= MAX_WAITING:
            self._pack()

    def _pack(self) -> None:
        check_rows(self._name, self.count, counting=True)
        self._names.update(dict.fromkeys(name for row in self._pending for name in row))
        # A name that is no longer wanted, now that more names are known, will not be wanted later either.
        names = wanted(list(self._names), self._mapping)
        self._columns = {name: self._columns.get(name) or Pieces([None] * self._packed) for name in names}
        for name, pieces in self._columns.items():
            pieces.append([row.get(name) for row in self._pending])
        self._packed += len(self._pending)
        self._pending, self._size = [], 0

    def done(self) -> Read:
        """Return all rows as columns."""
        check_rows(self._name, self.count)
        if self._not_objects:
            raise DataError(
                f"{self._name} holds {self._other_kind} where an object with instruction and output should be, in "
                f"{counted(len(self._not_objects), 'row')}, the first is row {self._not_objects[0]}: make every row an "
                "object."
            )
        self._pack()
        return list(self._names), self.count, self._columns


def _read_all(file: BinaryIO, name: str) -> str:
    file.seek(0)
    return decode(file.read(), name)


def _one_object(text: str) -> dict[str, Any] | None:
    """Parse the whole text as one object over several lines; None if it is not one."""
    value = from_json(text, None)
    return value if isinstance(value, dict) else None


def _is_row(value: dict[str, Any], columns: Columns) -> bool:
    """Whether a single object is a row: it has texts in the instruction and output columns, or in proposed ones."""
    texts = [name for name, cell in value.items() if isinstance(text_in(cell), str) or are_messages(cell)]
    return {columns.instruction, columns.output} <= set(texts) or propose(texts) is not None
