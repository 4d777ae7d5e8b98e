"""What votes show: how many named the tuned answer, with the interval of that share."""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.959964
"""The two-sided 95% quantile of the normal distribution."""


@dataclass(frozen=True)
class Share:
    """``right`` of ``votes``; ``low`` to ``high`` is the 95% interval of the share, 0 to 1."""

    right: int
    votes: int
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """The share in words; it claims no more than the interval shows."""
        if not self.votes:
            return "Nobody voted."
        named = f"{self.right} of {self.votes} named the tuned answer ({100 * self.right / self.votes:.0f}%"
        interval = f"95% interval {100 * self.low:.0f}% to {100 * self.high:.0f}%)"
        if self.low > 0.5:
            return f"{named}, {interval}: more than guessing would give."
        if self.high < 0.5:
            return f"{named}, {interval}: fewer than guessing would give. It looks like base."
        return f"{named}, {interval}: that could be guessing."


def share(right: int, votes: int) -> Share:
    """The share with its Wilson score interval (Wilson, 1927), which holds for few votes and for shares of 0 and 1."""
    if not votes:
        return Share(0, 0, 0.0, 1.0)
    part, square = right / votes, _Z * _Z
    middle = (part + square / (2 * votes)) / (1 + square / votes)
    half = _Z / (1 + square / votes) * math.sqrt(part * (1 - part) / votes + square / (4 * votes * votes))
    return Share(right, votes, max(0.0, middle - half), min(1.0, middle + half))
