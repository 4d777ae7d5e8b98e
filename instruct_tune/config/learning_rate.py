"""The effective learning rate of a run: ``train.learning_rate`` after schedule and warm-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .run_config import TrainSettings

WITHOUT_WARMUP = ("constant",)
"""Schedules without warm-up (``transformers.get_scheduler``)."""


def peak_rate(settings: TrainSettings, steps: int) -> float:
    """The highest learning rate of a run of ``steps`` optimizer steps.

    In a warm-up of w steps, step n (from 0) uses n / w of the rate, and step w all of it
    (``transformers.get_scheduler``: linear, cosine and constant_with_warmup).
    """
    warmup = settings.warmup_steps
    if not warmup or settings.lr_scheduler_type in WITHOUT_WARMUP:
        return settings.learning_rate
    return settings.learning_rate * min(1.0, max(steps - 1, 0) / warmup)


def used_rate(train: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> float:
    """The highest learning rate recorded in ``metrics``; that of ``train`` if none was recorded.

    ``train``: that section of a run's configuration JSON. ``metrics``: the run's metrics from the store.
    """
    rates = [m["learning_rate"] for m in metrics if m["kind"] == "train" and "learning_rate" in m]
    return max(rates, default=train["learning_rate"])


def is_warming_up(train: Mapping[str, Any], used: float) -> bool:
    """Whether warm-up kept ``used``, the highest rate so far, below the rate in ``train``."""
    return train["warmup_steps"] > 0 and used < train["learning_rate"]


def warmup_sentence(train: Mapping[str, Any], used: float, steps: int) -> str:
    """A sentence on the effect of warm-up on the learning rate; ``steps``: steps of the whole run."""
    return (
        f"Warm-up takes {train['warmup_steps']:,} steps and the run has {steps:,}: the learning rate was at most "
        f"{used:.3g} (train.learning_rate is {train['learning_rate']:g})."
    )


def higher_rate_advice(rate: float) -> str:
    """Advice if ``rate`` had too little effect: ten times as much, capped at the highest allowed rate."""
    return f"Try a learning rate of {min(10 * rate, 1):g}, or more steps." if rate < 1 else "Train for more steps."


def schedule_warnings(settings: TrainSettings, steps: int, evaluations: int | None) -> list[str]:
    """Warnings about parts of the schedule that a run of ``steps`` steps and ``evaluations`` evaluations never reaches.

    One sentence each, with what to change. ``evaluations`` None: unknown.
    """
    warnings = []
    warmup, patience = settings.warmup_steps, settings.early_stopping_patience
    if warmup and settings.lr_scheduler_type in WITHOUT_WARMUP:
        warnings.append(
            f"The schedule {settings.lr_scheduler_type} has no warm-up, so train.warmup_steps is not used: choose "
            "constant_with_warmup."
        )
    elif (peak := peak_rate(settings, steps)) < settings.learning_rate:
        warnings.append(
            f"Warm-up takes {warmup:,} steps and the run has {steps:,}: the learning rate never gets above {peak:.3g} "
            f"(train.learning_rate is {settings.learning_rate:g}); lower train.warmup_steps."
        )
    if patience is not None and evaluations is not None and evaluations <= patience + 1:
        warnings.append(
            f"Early stopping waits for {patience:,} evaluations without a lower loss and the run has {evaluations:,}: "
            "it never stops early; evaluate more often, or lower train.early_stopping_patience."
        )
    return warnings
