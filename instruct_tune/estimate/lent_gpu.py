"""How long a run takes on a lent GPU, from the last run there: this machine cannot measure it beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .progress import TYPICAL
from .resources import Effort

GPU_SECONDS, GPU_TURNS = "gpu_seconds", "gpu_turns"
"""In ``work`` of a run's provenance, where its session was on lent GPUs: for how long they were lent, and how often."""


def expected_seconds(effort: Effort, earlier: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds of lent GPU for the work of a run, loading included; None where no run tells.

    ``earlier``: the provenance of ended runs of the same model, the newest first.
    """
    for provenance in earlier:
        work = provenance.get("work", {})
        if GPU_SECONDS not in work:
            continue
        done = Effort(work["trained"], work["read"], work["decoded"]).seconds(TYPICAL)
        if done:
            # A worker starts and loads the model; the rest of its time goes into the work.
            overhead = max(0.0, work[GPU_SECONDS] - work["seconds"]) / work[GPU_TURNS]
            return overhead + work["seconds"] * effort.seconds(TYPICAL) / done
    return None
