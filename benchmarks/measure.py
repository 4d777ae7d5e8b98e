"""Measuring side by side: repetitions that alternate in one process, medians, and how far they spread."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spread:
    """The median of some repetitions, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(statistics.median(values), min(values), max(values))

    @staticmethod
    def interval(values: Sequence[float]) -> Spread:
        """The median with its 95% interval: the sign test's, which assumes nothing but that the values are alike.

        Fewer than six values are not enough for 95%: then it is all of them.
        """
        ordered, n = sorted(values), len(values)
        # The median is below the k-th lowest value with the chance that fewer than k of n coins fall heads.
        chances = [sum(math.comb(n, heads) for heads in range(k)) / 2**n for k in range(1, n)]
        cut = max(sum(chance <= 0.025 for chance in chances), 1) - 1
        return Spread(statistics.median(ordered), ordered[cut], ordered[n - 1 - cut])

    @staticmethod
    def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
        """Of the medians; lowest and highest of the pairs that were measured one after the other."""
        pairs = [a / b for a, b in zip(over, under, strict=True)]
        return Spread(statistics.median(over) / statistics.median(under), min(pairs), max(pairs))


@dataclass(frozen=True)
class Row:
    """One row of the table: what was measured, in which unit, for the lab and for what people use instead.

    ``ratio`` is how many times better the lab is. ``wanted`` says what it should reach, ``curve``
    holds (x, seconds) for the plot, ``details`` what only the JSON tells.
    """

    what: str
    lab: Spread
    stock: Spread | None = None
    ratio: Spread | None = None
    unit: str = ""
    wanted: str = ""
    curve: tuple[tuple[float, float], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def alternating(jobs: Mapping[str, Callable[[], Any]], repeat: int) -> dict[str, list[Any]]:
    """What each job returns, ``repeat`` times: first, second, third, first, second, third, …

    So what slows the machine down for a while slows all of them down.
    """
    found: dict[str, list[Any]] = {name: [] for name in jobs}
    for _ in range(repeat):
        for name, job in jobs.items():
            found[name].append(job())
    return found


def timed(job: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that ``job`` takes, and what it returns."""
    began = time.perf_counter()
    found = job()
    return time.perf_counter() - began, found


def bytes_of_this_process() -> int:
    """The most memory this process has had."""
    # Not getrusage's ru_maxrss: a process begins with its parent's.
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError("this system does not tell a process's peak memory")
    return int(found.group(1)) * 1024
