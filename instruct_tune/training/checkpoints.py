"""A run's checkpoints on disk, and which of them is the best. Imports nothing slow: the page asks too."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..util import atomic_write

Evaluation = tuple[int, float]
"""(optimizer step, held-out loss there)."""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that were written to their end, oldest step first; whether they still are whole is not asked."""
    found = [path for path in folder.glob("checkpoint-*") if (path / atomic_write.MANIFEST).is_file()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The optimizer step a checkpoint was written after."""
    return int(checkpoint.name.partition("-")[2])


def at_step(folder: Path, step: int) -> Path:
    """Where the checkpoint of that step is, or would be."""
    return folder / f"checkpoint-{step}"


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are as they were written, and a sentence on each newer one that is not.

    Those are put aside: the steps they are named after will be done again, and prune older ones meanwhile.
    """
    said: list[str] = []
    for checkpoint in reversed(checkpoints(folder)):
        wrong = atomic_write.fault(checkpoint)
        if wrong is None:
            return checkpoint, said
        said.append(f"The checkpoint of step {step_of(checkpoint)} is damaged ({wrong}) and is not used.")
        aside = folder / f"damaged-{step_of(checkpoint)}"
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.rename(aside)
    return None, said


def prune_checkpoints(folder: Path, keep: int | None, hide_progress_on: int | None = None) -> None:
    """Delete the oldest checkpoints beyond ``keep`` (None keeps all), but never that of step ``hide_progress_on``."""
    for old in checkpoints(folder)[: -keep if keep else 0]:
        if step_of(old) != hide_progress_on:
            shutil.rmtree(old)


def best_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The one with the lowest loss, the earlier of two alike; None where there is none."""
    return min(evaluations, key=lambda evaluation: (evaluation[1], evaluation[0]), default=None)


def evaluations_since_best(evaluations: Sequence[Evaluation]) -> int:
    """How many evaluations in a row did not get below the best one."""
    best = best_evaluation(evaluations)
    return sum(step > best[0] for step, _ in evaluations) if best else 0
