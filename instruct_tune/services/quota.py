"""The disk quota of visitors, and which of their runs expire.

Where several people use a lab, a visitor's uploads and runs (imported ones, too) are measured on disk when they add
something. The host has no quota.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..config.environment import MEGABYTE, max_visitor_bytes, mebibytes
from ..config.viewer import Viewer
from ..errors import DataError
from ..store.disk_usage import folder_bytes
from ..store.run import Run
from ..store.run_store import RunStore

EXPIRES = "expires"
"""The key in a run's provenance: True where a visitor started it on such a lab, so that it is removed after a time like
their uploads. False once the host has renamed, tagged, annotated or shared it: then it stays."""


def expires(run: Run) -> bool:
    """Whether a visitor's run is removed after a time."""
    return bool(run.provenance.get(EXPIRES))


class Quota:
    """Limits the bytes of visitors' runs in ``store`` and of their ``uploads``; both are removed after ``hours``."""

    def __init__(self, store: RunStore, uploads: Path, hours: int) -> None:
        self._store, self._uploads, self._hours = store, uploads, hours
        self._adding = threading.Lock()

    @contextmanager
    def adding(self, viewer: Viewer, size: int) -> Iterator[None]:
        """Inside, ``viewer`` adds ``size`` bytes, and other additions wait. Raises DataError beyond the quota."""
        with self._adding:
            self.require_room(viewer, size)
            yield

    def require_room(self, viewer: Viewer, size: int) -> None:
        """Raise DataError where ``size`` more bytes would exceed the quota of ``viewer``.

        Their trashed runs are deleted for good where the space is needed.
        """
        most = max_visitor_bytes()
        uploads = sum(folder_bytes(self._uploads / each) for each in viewer.ids)
        runs = [(self._bytes(run), run.name) for run in self._store.all() if _is_of(run, viewer)]
        used = uploads + sum(size_of_run for size_of_run, _ in runs) + size
        if used > most:
            raise DataError(self._refusal(viewer, uploads, runs, size))
        binned = {run.id: self._bytes(run) for run in self._store.trashed() if _is_of(run, viewer)}
        for run_id, freed in sorted(binned.items()):
            if used + sum(binned.values()) <= most:
                return
            self._store.erase_trashed(run_id)
            binned[run_id] -= freed

    def _bytes(self, run: Run) -> int:
        return folder_bytes(self._store.data_dir / "runs" / run.id)

    def _refusal(self, viewer: Viewer, uploads: int, runs: list[tuple[int, str]], size: int) -> str:
        subject = "You keep" if viewer.id else "Visitors without a secret together keep"
        used = f"{mebibytes(uploads)} of uploads and {mebibytes(sum(used for used, _ in runs))} of runs"
        more = f", and this would add {mebibytes(size)}" if size else ""
        advice = "wait"
        if runs:
            largest, name = max(runs)
            advice = f"delete runs (the largest is {name}, {mebibytes(largest)}) or wait"
        return (
            f"{subject} {used} on this lab{more}, where a visitor may keep {max_visitor_bytes() // MEGABYTE:,} MB "
            f"(LAB_VISITOR_MB): {advice}, for uploads and runs are removed after {self._hours} hours."
        )


def _is_of(run: Run, viewer: Viewer) -> bool:
    """Whether a run counts for ``viewer``; the runs of scripts without a secret count together."""
    return run.started_by in viewer.ids if viewer.id else run.started_by is None and expires(run)
