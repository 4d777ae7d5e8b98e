"""Disk usage of the run folders; most of it is adapters and checkpoints."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

REMEMBERED_SECONDS = 30.0
"""Minimum time between two counts of the same folder, however many viewers open the list."""


class DiskUse:
    """Size in bytes of each run folder, cached for ``REMEMBERED_SECONDS``."""

    def __init__(self, runs: Path):
        self._runs = runs
        self._cache: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def of(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Bytes by run id; 0 for a missing folder."""
        with self._lock:
            return {run_id: self._bytes(run_id) for run_id in run_ids}

    def _bytes(self, run_id: str) -> int:
        now = time.monotonic()
        counted, size = self._cache.get(run_id, (-REMEMBERED_SECONDS, 0))
        if now - counted >= REMEMBERED_SECONDS:
            size = folder_bytes(self._runs / run_id)
            self._cache[run_id] = (now, size)
        return size


def folder_bytes(folder: Path) -> int:
    """Total bytes of the files under ``folder``. Links are not followed; files that vanish meanwhile count 0."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                # Checkpoints are renamed from a temporary name, and old ones are pruned.
                continue
    return total
