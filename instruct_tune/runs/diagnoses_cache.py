"""The findings of runs, remembered while nothing new was measured: every window asks for them every second."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ..store.run_store import Run, RunStore
from .diagnostics import diagnose

EVERY = 10
"""Steps between two looks at a run that trains, beside those after each held-out loss."""
REMEMBERED = 32


class Diagnoses:
    """What ``diagnosis`` finds in the runs of a store. Safe to use from several threads."""

    def __init__(self, store: RunStore):
        self._store = store
        self._known: OrderedDict[str, tuple[Any, list[dict[str, Any]]]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run: Run, last: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The run's findings as JSON; ``last``: its newest metric of each kind, which says whether to look again."""
        seqs = [last[kind]["seq"] for kind in ("probe", "eval") if kind in last]
        asked = (run.status, run.total_steps, run.step // EVERY if run.live else run.step, *seqs)
        with self._lock:
            known = self._known.get(run.id)
            if known is None or known[0] != asked:
                told = {"config": run.config, "facts": run.facts, "step": run.step, "total_steps": run.total_steps}
                found = diagnose(told, self._store.metrics(run.id), self._store.samples(run.id))
                known = (asked, [finding.to_dict() for finding in found])
            self._known[run.id] = known
            self._known.move_to_end(run.id)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return known[1]
