"""Runs in trackio while they train, where the host names a project in ``LAB_TRACKIO``."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

from ..config.viewer import HOST
from ..store.run_store import RunStore
from .housekeeping import attempt
from .transfers import Transfers

State = tuple[str, str, int, int]
"""A run's name and status, and how many metrics and evaluations it has."""
SECONDS = 5.0
"""Between two looks at the runs."""


class LiveTrackio:
    """Owns the thread that writes the runs of this process into ``project`` as they change.

    A run is written whole each time, as ``runs export --trackio`` does: after a resume nothing is there twice.
    """

    def __init__(self, store: RunStore, transfers: Transfers, project: str, closing: threading.Event):
        self._store, self._transfers, self._project, self._closing = store, transfers, project, closing
        self._since = time.time()
        self._written: dict[str, State] = {}
        self._thread = threading.Thread(target=self._work, name="trackio", daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Write what the runs' end has changed. Call it after they ended."""
        self._thread.join(timeout)
        self._update()

    def _work(self) -> None:
        while not self._closing.wait(SECONDS):
            self._update()

    def _update(self) -> None:
        for run_id, state in self._changed():
            attempt(partial(self._write, run_id, state), f"write run {run_id} to trackio")

    def _write(self, run_id: str, state: State) -> None:
        self._transfers.export_trackio(HOST, run_id, self._project)
        self._written[run_id] = state

    def _changed(self) -> Iterator[tuple[str, State]]:
        """The runs that trained in this process and are not written as they are now."""
        for run in self._store.all():
            if run.live or (run.ended or 0.0) >= self._since:
                metrics, evaluations = len(self._store.metrics(run.id)), len(self._store.evaluations(run.id))
                state = (run.name, run.status, metrics, evaluations)
                if metrics and self._written.get(run.id) != state:
                    yield run.id, state
