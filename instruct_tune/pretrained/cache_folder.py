"""The lab's cache folder, and the small JSON files in it that several processes write."""

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
"""Maximum entries per file; the oldest are dropped first."""
_CHANGING = threading.Lock()


def cache_dir() -> Path:
    """The folder for converted models: ``LAB_CACHE_DIR``, else the platform's cache folder."""
    return Path(os.environ.get("LAB_CACHE_DIR") or platformdirs.user_cache_dir("instruction-tuning-lab"))


def read_entries(name: str) -> dict[str, Any]:
    """The entries of the file ``name`` in the cache folder; empty if it is missing or damaged."""
    return read_file(cache_dir() / name)


def read_file(file: Path) -> dict[str, Any]:
    """The entries of ``file``; empty if it is missing or damaged."""
    try:
        entries = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def add_entry(name: str, key: str, value: Any) -> None:
    """Write one entry into the file ``name`` as its newest; the oldest beyond ``MAX_ENTRIES`` are dropped."""

    def added(entries: dict[str, Any]) -> dict[str, Any]:
        others = {other: entry for other, entry in entries.items() if other != key}
        return {**dict(list(others.items())[1 - MAX_ENTRIES :]), key: value}

    change_file(cache_dir() / name, added)


def change_file(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace the entries of ``file`` with ``change(entries)``.

    A lock serialises changes by threads and processes, so none is lost. The write is atomic for readers.
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
    """Lock ``folder`` against changes by other processes."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        # Some file systems have no locks; ``_CHANGING`` still serialises the threads of this process.
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
