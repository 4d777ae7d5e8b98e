"""Rooms on disk: the events of each, one checked line an event, removed when the room ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..util import checked_lines
from .connection import on_disk

CODE = re.compile(r"[A-HJ-NP-Z2-9]{6}")
"""A room's code: nothing that is read as something else (0 and O, 1 and I)."""


class RoomFiles:
    """Owns the folder of the rooms' files."""

    def __init__(self, data_dir: Path):
        self._data_dir, self._folder = data_dir, data_dir / "rooms"

    def append(self, code: str, event: Mapping[str, Any]) -> None:
        """Store an event before it counts. Raises LabErrors for a full disk."""
        with on_disk(self._data_dir):
            self._folder.mkdir(exist_ok=True)
            checked_lines.append(self._file(code), [event])

    def read(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """The code and the events of every room that had not ended."""
        for file in sorted(self._folder.glob(f"*{checked_lines.ENDING}")):
            if CODE.fullmatch(file.stem):
                yield file.stem, list(checked_lines.read(file))

    def remove(self, code: str) -> None:
        """Forget a room and everybody in it."""
        with on_disk(self._data_dir):
            self._file(code).unlink(missing_ok=True)

    def _file(self, code: str) -> Path:
        if not CODE.fullmatch(code):
            raise ValueError(f"{code!r} is no room's code")
        return self._folder / f"{code}{checked_lines.ENDING}"
