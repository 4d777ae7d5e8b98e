"""Side-by-side measurement: repetitions that alternate in one process, medians, and their spread."""

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
    """Median, lowest and highest of some repetitions."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(statistics.median(values), min(values), max(values))

    @staticmethod
    def interval(values: Sequence[float]) -> Spread:
        """The median with its 95% interval by the sign test, which only assumes identically distributed values.

        Fewer than six values are too few for 95%: then the interval spans all of them.
        """
        ordered, n = sorted(values), len(values)
        # P(median < k-th lowest value) = P(fewer than k heads in n coin tosses).
        chances = [sum(math.comb(n, heads) for heads in range(k)) / 2**n for k in range(1, n)]
        cut = max(sum(chance <= 0.025 for chance in chances), 1) - 1
        return Spread(statistics.median(ordered), ordered[cut], ordered[n - 1 - cut])

    @staticmethod
    def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
        """The ratio of the medians, and the lowest and highest ratio of pairs measured one after the other."""
        pairs = [a / b for a, b in zip(over, under, strict=True)]
        return Spread(statistics.median(over) / statistics.median(under), min(pairs), max(pairs))


@dataclass(frozen=True)
class Row:
    """One row of the table: ``what`` was measured in ``unit``, for the lab and for the stock alternative.

    ``ratio``: how many times better the lab is. ``wanted``: the target. ``curve``: (x, seconds) for the plot.
    ``details``: values that only the JSON file holds.
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
    """Job → its ``repeat`` results, run in alternation: first, second, third, first, second, third, …

    So anything that slows the machine down for a while affects all jobs alike.
    """
    results: dict[str, list[Any]] = {name: [] for name in jobs}
    for _ in range(repeat):
        for name, job in jobs.items():
            results[name].append(job())
    return results


def timed(job: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that ``job`` takes, and its result."""
    began = time.perf_counter()
    result = job()
    return time.perf_counter() - began, result


def bytes_of_this_process() -> int:
    """The peak memory of this process in bytes, from /proc. Raises RuntimeError where /proc does not tell it."""
    # Not getrusage's ru_maxrss: a process inherits its parent's peak.
    match = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if match is None:
        raise RuntimeError("this system does not tell a process's peak memory")
    return int(match.group(1)) * 1024
