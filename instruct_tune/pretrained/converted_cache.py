"""Disk cache of converted base weights: written atomically and bounded in size.

Beyond the host's limit, the least recently used conversions are removed, except those that a process has loaded. The
cache folder is the host's choice and may hold other files; these are never removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..config.environment import max_cache_bytes

ABANDONED_SECONDS = 24 * 3600
"""An unfinished conversion older than this was abandoned by a process that ended."""
_NAME = "(wheel|tiny-random|bin-[0-9a-f]{16})"
"""The names that ``locate`` gives to conversions."""
_WHOLE, _PARTIAL = re.compile(_NAME), re.compile(rf"\.{_NAME}-\w+")


def converted(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name`` in ``cache``, created with ``make`` if missing. A rename makes it appear whole."""
    final = cache / name
    if final.is_dir():
        _touch(final)
        return final
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
    try:
        make(partial)
        try:
            partial.rename(final)
        except OSError:
            # Another process was faster; its copy is equivalent.
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    make_room(cache, final)
    return final


def hold(folder: Path) -> int:
    """Lock ``folder`` against removal; returns a file descriptor that holds the lock until it is closed."""
    _touch(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    # On a file system without locks, ``_removed`` fails as well, so nothing is removed.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _touch(folder: Path) -> None:
    """Mark as most recently used. Errors are ignored: from a read-only cache nothing is removed."""
    with suppress(OSError):
        os.utime(folder)


def make_room(cache: Path, spared: Path) -> None:
    """Remove the least recently used conversions until the rest fits, except ``spared`` and locked ones."""
    for abandoned in _folders(cache, _PARTIAL):
        if abandoned.stat().st_mtime < time.time() - ABANDONED_SECONDS:
            shutil.rmtree(abandoned, ignore_errors=True)
    folders = _folders(cache, _WHOLE)
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in folders}
    total = sum(sizes.values())
    for oldest in sorted(folders, key=lambda path: path.stat().st_mtime):
        if total <= max_cache_bytes():
            return
        if oldest != spared and _removed(oldest):
            total -= sizes[oldest]


def _folders(cache: Path, names: re.Pattern[str]) -> list[Path]:
    return [path for path in cache.iterdir() if names.fullmatch(path.name) and path.is_dir()]


def _removed(folder: Path) -> bool:
    """Remove ``folder`` unless a process holds it, or locks fail. The rename first makes the removal atomic."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        renamed = folder.with_name(f".{folder.name}-removed")
        folder.rename(renamed)
        shutil.rmtree(renamed, ignore_errors=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
