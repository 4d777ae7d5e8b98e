"""Base weights that were converted, on disk: made beside and renamed, and bounded.

Where there are more bytes than the host allows, those go that were used the longest time ago, but none that a
process has loaded. The host chooses the cache folder, and others may keep things there too: of those nothing goes.
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
"""A conversion that began so long ago and is not done was broken off with its process."""
_NAME = "(wheel|tiny-random|bin-[0-9a-f]{16})"
"""What ``weights`` calls a conversion."""
_WHOLE, _PARTIAL = re.compile(_NAME), re.compile(rf"\.{_NAME}-\w+")


def converted(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name`` in ``cache``, made by ``make`` where it is not there yet; half a conversion is never seen."""
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
            # Another process was faster; its copy is as good as this one.
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    make_room(cache, final)
    return final


def hold(folder: Path) -> int:
    """Keep ``folder`` from being removed; returns the file descriptor that does, until it is closed."""
    _touch(folder)
    held = os.open(folder, os.O_RDONLY)
    # A file system without locks cannot be told; there nothing is removed either.
    with suppress(OSError):
        fcntl.flock(held, fcntl.LOCK_SH)
    return held


def _touch(folder: Path) -> None:
    """Used just now, so the last to go; a cache that cannot be written to loses nothing anyhow."""
    with suppress(OSError):
        os.utime(folder)


def make_room(cache: Path, spared: Path) -> None:
    """Remove what was used the longest time ago until the rest fits; ``spared`` and what is held stay."""
    for left in _folders(cache, _PARTIAL):
        if left.stat().st_mtime < time.time() - ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
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
    """Remove it, unless a process holds it, or may. Renamed first, so that half of it is never seen."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = folder.with_name(f".{folder.name}-removed")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    except OSError:
        return False
    finally:
        os.close(held)
    return True
