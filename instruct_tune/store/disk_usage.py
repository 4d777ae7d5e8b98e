"""Disk usage of the run folders; most of it is adapters and checkpoints."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Hashable, Mapping
from pathlib import Path

REMEMBERED_SECONDS = 30.0
"""Minimum time between two counts of a folder whose run is in the same state, however many viewers open the list."""


class DiskUse:
    """Size in bytes of each run folder, cached for ``REMEMBERED_SECONDS`` while the run's state is the same."""

    def __init__(self, runs: Path):
        self._runs = runs
        self._cache: dict[str, tuple[float, Hashable, int]] = {}
        self._lock = threading.Lock()

    def of(self, states: Mapping[str, Hashable]) -> dict[str, int]:
        """Bytes by run id; 0 for a missing folder.

        ``states``: for each run a value that changes when the run writes its last files, as at its end. Nobody asks
        again after that, so a size from before it would stay.
        """
        with self._lock:
            return {run_id: self._bytes(run_id, state) for run_id, state in states.items()}

    def _bytes(self, run_id: str, state: Hashable) -> int:
        now = time.monotonic()
        counted, counted_state, size = self._cache.get(run_id, (-REMEMBERED_SECONDS, None, 0))
        if state != counted_state or now - counted >= REMEMBERED_SECONDS:
            size = folder_bytes(self._runs / run_id)
            self._cache[run_id] = (now, state, size)
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
