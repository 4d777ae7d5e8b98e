"""Files of JSON values, one a line behind its CRC-32, that grow by appending; damaged lines are left out."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ENDING = ".lines"


def read(file: Path) -> Iterator[Any]:
    """The values of the intact lines, in order; none where the file cannot be read."""
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        checksum, _, text = line.partition(" ")
        if checksum == _checksum(text):
            yield json.loads(text)


def append(file: Path, values: Iterable[Any]) -> None:
    """Append a line a value. Raises OSError."""
    texts = [json.dumps(value) for value in values]
    with file.open("a", encoding="ascii") as out:
        # Begins with a newline, because a crash may have cut off the last line.
        out.write("\n" + "".join(f"{_checksum(text)} {text}\n" for text in texts))


def oldest_first(folder: Path) -> list[Path]:
    """The files of ``folder``, the least recently written or touched first."""
    return sorted(folder.glob(f"*{ENDING}"), key=lambda file: file.stat().st_mtime)


def keep_newest(folder: Path, most: int, weight: Callable[[Path], int] = lambda file: 1) -> None:
    """Delete the oldest files of ``folder`` until the sum of ``weight`` is at most ``most``. Raises OSError."""
    files = oldest_first(folder)
    while sum(map(weight, files)) > most:
        files.pop(0).unlink()


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
