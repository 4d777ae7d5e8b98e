"""How long each run of a room trained until its held-out loss was low enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Metrics = Sequence[Mapping[str, Any]]


def curve(metrics: Metrics) -> list[tuple[int, float]]:
    """The held-out loss by step: (step, nats a token)."""
    return [(metric["step"], metric["probe_loss"]) for metric in metrics if metric["kind"] == "probe"]


def reached_by_all(curves: Sequence[Sequence[tuple[int, float]]]) -> float | None:
    """The lowest loss that every curve reaches; None without curves."""
    lowest = [min(loss for _, loss in points) for points in curves if points]
    return max(lowest) if lowest else None


def seconds_to(metrics: Metrics, target: float) -> float | None:
    """Seconds in training steps until the held-out loss is at most ``target``; None where it never is.

    The loss is measured at a few steps, so the time is that of the first such step.
    """
    first = next((step for step, loss in curve(metrics) if loss <= target), None)
    if first is None:
        return None
    return sum(metric["seconds"] for metric in metrics if metric["kind"] == "train" and metric["step"] <= first)
