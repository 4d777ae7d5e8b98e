"""A run's checkpoints on disk, and which of them is the best. Imports nothing slow, because the page uses it too."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..util import atomic_write

Evaluation = tuple[int, float]
"""(optimizer step, held-out loss at that step)."""


def checkpoints(folder: Path) -> list[Path]:
    """The completely written checkpoints, lowest step first. Their files are not verified again."""
    complete = [path for path in folder.glob("checkpoint-*") if (path / atomic_write.MANIFEST).is_file()]
    return sorted(complete, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was written."""
    return int(checkpoint.name.partition("-")[2])


def at_step(folder: Path, step: int) -> Path:
    """The path of that step's checkpoint, which need not exist."""
    return folder / f"checkpoint-{step}"


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest undamaged checkpoint (None where there is none), and a sentence on each newer one that is damaged.

    Damaged checkpoints are renamed to ``damaged-STEP``: the run repeats their steps, and under their old names
    they would make ``prune_checkpoints`` delete older, intact ones meanwhile.
    """
    warnings: list[str] = []
    for checkpoint in reversed(checkpoints(folder)):
        fault = atomic_write.fault(checkpoint)
        if fault is None:
            return checkpoint, warnings
        warnings.append(f"The checkpoint of step {step_of(checkpoint)} is damaged ({fault}) and is not used.")
        aside = folder / f"damaged-{step_of(checkpoint)}"
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.rename(aside)
    return None, warnings


def prune_checkpoints(folder: Path, keep: int | None, best: int | None = None) -> None:
    """Delete the oldest checkpoints beyond ``keep`` (None keeps all), but never that of step ``best``."""
    for old in checkpoints(folder)[: -keep if keep else 0]:
        if step_of(old) != best:
            shutil.rmtree(old)


def best_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The evaluation with the lowest loss, the earlier of two equal ones; None where there are none."""
    return min(evaluations, key=lambda evaluation: (evaluation[1], evaluation[0]), default=None)


def evaluations_since_best(evaluations: Sequence[Evaluation]) -> int:
    """How many evaluations followed the best one."""
    best = best_evaluation(evaluations)
    return sum(step > best[0] for step, _ in evaluations) if best else 0
