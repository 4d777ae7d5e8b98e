"""Fit a run into a given time: fewer rows, then fewer epochs, then fewer steps."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable
from functools import partial

from ..config.run_config import RunConfig
from ..errors import DataError
from .workload import step_count

FEWEST_ROWS = 8
"""Below this many rows a shorter run trains in fewer steps instead."""


def resized(config: RunConfig, rows: int, epochs: float, max_steps: int) -> RunConfig:
    """The configuration with so many rows, epochs and steps."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, limit=rows),
        train=dataclasses.replace(config.train, num_train_epochs=epochs, max_steps=max_steps),
    )


def choose_size(
    duration: Callable[..., float], config: RunConfig, rows: int, wanted: float
) -> tuple[int, float, int, str]:
    """(rows, epochs, max_steps, sentence): the most rows that fit; else with one epoch; else a few steps.

    ``wanted``: seconds. Raises DataError where not even one step fits.
    """
    fewest = min(FEWEST_ROWS, rows)
    configured = config.train.num_train_epochs
    for epochs in dict.fromkeys((configured, min(1, configured))):
        if duration(rows, epochs, -1) <= wanted:
            return rows, epochs, -1, f"All {rows:,} rows fit, {_passes(epochs)}."
        if duration(fewest, epochs, -1) <= wanted:
            most = _largest(partial(duration, epochs=epochs, max_steps=-1), fewest, rows, wanted)
            fewer = f" instead of {configured:g} epochs" if epochs != configured else ""
            return most, epochs, -1, f"Chose {most:,} of {rows:,} rows, {_passes(epochs)}{fewer}."
    steps = step_count(fewest, dataclasses.replace(config.train, max_steps=-1, num_train_epochs=min(1, configured)))[0]
    if duration(fewest, min(1, configured), 1) > wanted:
        least = duration(fewest, min(1, configured), 1)
        raise DataError(
            f"One step and its measuring take about {math.ceil(least)} s here already: give it more time, "
            "fewer probe and evaluation rows, or a smaller model."
        )
    most = _largest(lambda number: duration(fewest, min(1, configured), number), 1, steps, wanted)
    return fewest, min(1, configured), most, f"Chose {fewest} rows and {most} of {steps} steps: more do not fit."


def _largest(duration: Callable[[int], float], low: int, high: int, wanted: float) -> int:
    """The largest number from ``low`` (which fits) to ``high`` that takes no longer than ``wanted`` seconds."""
    return low + bisect.bisect_right(range(low + 1, high + 1), wanted, key=duration)


def _passes(epochs: float) -> str:
    return "once" if epochs == 1 else f"{epochs:g} times"
