"""The effect of a change over several seeds: the mean of paired differences with its 95% t interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

# Two-sided 95% quantiles of Student's t, for 1 to 9 degrees of freedom.
_T_95 = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216)
MAX_SEEDS = len(_T_95) + 1


class Direction(str, Enum):
    """Where an effect goes. ``NONE``: its interval includes 0, so no difference is shown."""

    HIGHER = "higher"
    LOWER = "lower"
    NONE = "none"

    __str__ = str.__str__


@dataclass(frozen=True)
class Effect:
    """The mean difference over the seeds; ``low`` to ``high`` is its 95% interval."""

    mean: float
    low: float
    high: float

    @property
    def direction(self) -> Direction:
        """Whether the measure rises or falls; ``Direction.NONE`` where the interval includes 0."""
        if self.low > 0:
            return Direction.HIGHER
        return Direction.LOWER if self.high < 0 else Direction.NONE


def paired_effect(changed: Sequence[float], before: Sequence[float]) -> Effect:
    """The effect of a change; ``changed`` and ``before`` are measured with the same 2 to 10 seeds, in one order."""
    differences = [after - earlier for after, earlier in zip(changed, before, strict=True)]
    if not 2 <= len(differences) <= MAX_SEEDS:
        raise ValueError(f"An effect needs 2 to {MAX_SEEDS} seeds, not {len(differences)}.")
    mean = statistics.fmean(differences)
    half = _T_95[len(differences) - 2] * statistics.stdev(differences) / math.sqrt(len(differences))
    return Effect(mean, mean - half, mean + half)
