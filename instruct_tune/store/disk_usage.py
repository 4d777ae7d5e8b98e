"""How much of the disk the runs use: adapters and checkpoints are what fills it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

REMEMBERED_SECONDS = 30.0
"""A folder is not counted again sooner, however many people look at the list."""


class DiskUse:
    """Bytes in the runs' folders, remembered for half a minute."""

    def __init__(self, runs: Path):
        self._runs = runs
        self._known: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def of(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Bytes by run; a folder that is gone has none."""
        with self._lock:
            return {run_id: self._bytes(run_id) for run_id in run_ids}

    def _bytes(self, run_id: str) -> int:
        now = time.monotonic()
        counted, size = self._known.get(run_id, (-REMEMBERED_SECONDS, 0))
        if now - counted >= REMEMBERED_SECONDS:
            size = folder_bytes(self._runs / run_id)
            self._known[run_id] = (now, size)
        return size


def folder_bytes(folder: Path) -> int:
    """All files under ``folder``, links not followed; what vanishes while it counts counts nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                # A checkpoint is written to a temporary name and renamed, an old one pruned.
                continue
    return total
