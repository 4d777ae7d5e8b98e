"""The lab's own cache folder, and the small JSON files in it that several processes write."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

MAX_ENTRIES = 500
"""Entries that such a file keeps; the oldest go first."""
_CHANGING = threading.Lock()


def cache_dir() -> Path:
    """Where converted models are kept: ``LAB_CACHE_DIR``, else the platform's cache folder."""
    return Path(os.environ.get("LAB_CACHE_DIR") or platformdirs.user_cache_dir("instruction-tuning-lab"))


def read_entries(name: str) -> dict[str, Any]:
    """The entries of the file ``name`` in the cache folder; none where it is missing or damaged."""
    return read_file(cache_dir() / name)


def read_file(file: Path) -> dict[str, Any]:
    """The entries of ``file``; none where it is missing or damaged."""
    try:
        entries = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def add_entry(name: str, key: str, value: Any) -> None:
    """Write one entry into the file ``name``, as its newest; the oldest beyond ``MAX_ENTRIES`` go."""

    def added(entries: dict[str, Any]) -> dict[str, Any]:
        others = {other: kept for other, kept in entries.items() if other != key}
        return {**dict(list(others.items())[1 - MAX_ENTRIES :]), key: value}

    change_file(cache_dir() / name, added)


def change_file(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace the entries of ``file`` with what ``change`` makes of them.

    Changes by other threads and processes happen before or after, so none is lost; a reader never sees half a file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _CHANGING, _locked(file.parent):
        entries = change(read_file(file))
        partial = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
        try:
            partial.write_text(json.dumps(entries))
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the files of ``folder``."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        # A file system without locks has none to offer; the threads of this process still wait for each other.
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
