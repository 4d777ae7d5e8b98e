"""Timeouts of the tests, which grow with how slow the machine is while they run."""

import functools
import time

REFERENCE_SECONDS = 0.05
"""Time of ``_work`` on an idle core of 2.5 GHz."""


@functools.cache
def machine_slowness() -> float:
    """Factor for timeouts: 1 on a machine as fast as the reference or faster, more on a slower or busier one."""
    began = time.perf_counter()
    _work()
    return max(1.0, (time.perf_counter() - began) / REFERENCE_SECONDS)


def _work() -> int:
    return sum(number * number % 7 for number in range(1_000_000))
