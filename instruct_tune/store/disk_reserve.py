"""Disk space reserved in the data folder, so that a full disk can still be recorded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_FILE, _BYTES = ".room", 1 << 20


def reserve(data_dir: Path) -> None:
    """Reserve 1 MiB, if the disk has it. The caller must hold the DataLock."""
    file = data_dir / _FILE
    with suppress(OSError):
        if not file.is_file():
            file.write_bytes(bytes(_BYTES))


def release(data_dir: Path) -> None:
    """Free the reserved space, to record that the disk is full."""
    (data_dir / _FILE).unlink(missing_ok=True)
