"""The learning rate that a run's steps use: what its schedule and warm-up make of ``train.learning_rate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .run_config import TrainSettings

WITHOUT_WARMUP = ("constant",)
"""Schedules that take no warm-up (``transformers.get_scheduler``)."""


def peak_rate(settings: TrainSettings, steps: int) -> float:
    """The highest learning rate of a run of ``steps`` optimizer steps.

    Step n, counted from 0, of a warm-up of w steps uses n / w of the rate, and step w the whole of it
    (``transformers.get_scheduler``: linear, cosine and constant_with_warmup).
    """
    warmup = settings.warmup_steps
    if not warmup or settings.lr_scheduler_type in WITHOUT_WARMUP:
        return settings.learning_rate
    return settings.learning_rate * min(1.0, max(steps - 1, 0) / warmup)


def used_rate(train: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> float:
    """The highest learning rate that the steps in ``metrics`` used; the one of ``train`` where none was recorded.

    ``train``: that section of a run's configuration JSON; ``metrics``: the run's, as the store has them.
    """
    used = [m["learning_rate"] for m in metrics if m["kind"] == "train" and "learning_rate" in m]
    return max(used, default=train["learning_rate"])


def is_warming_up(train: Mapping[str, Any], used: float) -> bool:
    """Whether warm-up has kept every rate that was used below the one of ``train``."""
    return train["warmup_steps"] > 0 and used < train["learning_rate"]


def warmup_sentence(train: Mapping[str, Any], used: float, steps: int) -> str:
    """What warm-up makes of the learning rate; ``steps``: those of the whole run."""
    return (
        f"Warm-up takes {train['warmup_steps']:,} steps and the run has {steps:,}: the learning rate was at most "
        f"{used:.3g} (train.learning_rate is {train['learning_rate']:g})."
    )


def higher_rate_advice(rate: float) -> str:
    """What to try where ``rate`` did too little: ten times as much, or the highest that the settings take."""
    return f"Try a learning rate of {min(10 * rate, 1):g}, or more steps." if rate < 1 else "Train for more steps."


def schedule_warnings(settings: TrainSettings, steps: int, evaluations: int | None) -> list[str]:
    """What of the schedule will not happen in a run of ``steps`` steps and ``evaluations`` evaluations (None: unknown).

    One sentence each, with what to change.
    """
    found = []
    warmup, patience = settings.warmup_steps, settings.early_stopping_patience
    if warmup and settings.lr_scheduler_type in WITHOUT_WARMUP:
        found.append(
            f"The schedule {settings.lr_scheduler_type} has no warm-up, so train.warmup_steps is not used: choose "
            "constant_with_warmup."
        )
    elif (peak := peak_rate(settings, steps)) < settings.learning_rate:
        found.append(
            f"Warm-up takes {warmup:,} steps and the run has {steps:,}: the learning rate never gets above {peak:.3g} "
            f"(train.learning_rate is {settings.learning_rate:g}); lower train.warmup_steps."
        )
    if patience is not None and evaluations is not None and evaluations <= patience + 1:
        found.append(
            f"Early stopping waits for {patience:,} evaluations without a lower loss and the run has {evaluations:,}: "
            "it never stops early; evaluate more often, or lower train.early_stopping_patience."
        )
    return found
