"""How long each run of a room trained until its held-out loss was low enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Metrics = Sequence[Mapping[str, Any]]
Curve = Sequence[tuple[int, float]]


@dataclass(frozen=True, order=True)
class Reached:
    """When a run's held-out loss came down to a target: after ``over`` seconds in training steps, and by ``by``.

    The loss is measured at a few steps: ``by`` is the time of the first that is low enough, ``over`` of the one before.
    """

    by: float
    over: float


def curve(probes: Metrics) -> Curve:
    """The held-out loss by step: (step, nats a token)."""
    return [(metric["step"], metric["probe_loss"]) for metric in probes]


def reached_by_all(curves: Sequence[Curve]) -> float | None:
    """The lowest loss that every curve reaches; None without curves."""
    lowest = [min(loss for _, loss in points) for points in curves if points]
    return max(lowest) if lowest else None


def steps_to(points: Curve, target: float) -> tuple[int, int] | None:
    """The first step at which the held-out loss was at most ``target``, and the step at which it was measured before;
    None where it never was."""
    before = 0
    for step, loss in points:
        if loss <= target:
            return step, before
        before = step
    return None


def reached(steps: Metrics, step: int, before: int) -> Reached:
    """The times of two steps, from the metrics of all training steps."""
    return Reached(_seconds(steps, step), _seconds(steps, before))


def tied(times: Mapping[str, Reached]) -> dict[str, int]:
    """The group of each run, 1 is the fastest: the run with the least time that is left, and all that may have been as
    fast, because their loss was measured too seldom to tell."""
    groups: dict[str, int] = {}
    best, group = None, 0
    for run_id, time in sorted(times.items(), key=lambda each: (each[1], each[0])):
        if best is None or (time.by > best.by and time.over >= best.by):
            best, group = time, group + 1
        groups[run_id] = group
    return groups


def _seconds(steps: Metrics, last: int) -> float:
    """Seconds in training steps up to the step ``last``."""
    return sum(metric["seconds"] for metric in steps if metric["step"] <= last)
