"""Prepare a loss curve for drawing: thin its points and smooth the noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def thin(points: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` points, evenly spaced, including the first and the last."""
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def smooth(values: Sequence[float], weight: float = 0.8) -> list[float]:
    """Exponential moving average with bias correction (as in Adam, Kingma & Ba 2015)."""
    smoothed, mean = [], 0.0
    for count, value in enumerate(values, 1):
        mean = weight * mean + (1 - weight) * value
        smoothed.append(mean / (1 - weight**count))
    return smoothed
