"""A run's checkpoints on disk, and which of them is the best. Imports nothing slow: the page asks too."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

Evaluation = tuple[int, float]
"""(optimizer step, held-out loss there)."""


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a run's folder, oldest step first."""
    found = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The optimizer step a checkpoint was written after."""
    return int(checkpoint.name.partition("-")[2])


def at_step(folder: Path, step: int) -> Path:
    """Where the checkpoint of that step is, or would be."""
    return folder / f"checkpoint-{step}"


def replace_folder(written: Path, final: Path) -> None:
    """Rename over a folder of the same step, left by the run before a resume."""
    if final.exists():
        shutil.rmtree(final)
    written.rename(final)


def prune_checkpoints(folder: Path, keep: int | None, spare: int | None = None) -> None:
    """Delete the oldest checkpoints beyond ``keep`` (None keeps all), but never that of step ``spare``."""
    for old in checkpoints(folder)[: -keep if keep else 0]:
        if step_of(old) != spare:
            shutil.rmtree(old)


def best_evaluation(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The one with the lowest loss, the earlier of two alike; None where there is none."""
    return min(evaluations, key=lambda evaluation: (evaluation[1], evaluation[0]), default=None)


def evaluations_since_best(evaluations: Sequence[Evaluation]) -> int:
    """How many evaluations in a row did not get below the best one."""
    best = best_evaluation(evaluations)
    return sum(step > best[0] for step, _ in evaluations) if best else 0
