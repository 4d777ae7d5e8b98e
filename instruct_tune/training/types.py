"""What a run is given, what it tells while it is at work, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..tokenization.encode import TokenizedExample


class TrainingListener(Protocol):
    """Who watches a run. Called on the thread that trains."""

    def say(self, text: str) -> None:
        """Something happened that belongs into the run's log: one sentence."""

    def phase(self, name: str) -> None:
        """``training``, ``evaluating`` or ``saving`` begins."""

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        """A number is known: kind ``train`` (loss in nats a supervised token), ``probe`` or ``eval``."""

    def progress(self, step: int, total_steps: int) -> None:
        """``step`` optimizer steps of ``total_steps`` are done."""

    def part(self, done: int, total: int) -> None:
        """How far a phase within a step is: passes of an evaluation."""

    def probed(self, step: int, speaker: str) -> None:
        """The held-out loss after ``step`` steps is known: the moment for other looks at the model, too.

        ``speaker`` is what the run was after those steps: its adapter, or ``adapter.BASE`` at step 0 of a run that
        begins as base, which is told when the first step is done. Whoever lets it speak leaves the active adapter,
        mode and random numbers as they were.
        """

    def yield_to_queue(self) -> None:
        """Between two steps: do what is waiting."""

    def stopping(self) -> bool:
        """Whether a person asked for a stop."""


@dataclass(frozen=True)
class TrainingData:
    """What a run is trained and measured on; ``evaluation`` and ``probe`` share no row."""

    train: Sequence[TokenizedExample]
    evaluation: Sequence[TokenizedExample]
    probe: Sequence[TokenizedExample]


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    ``stopped`` tells that a person stopped it before its last step, ``early`` that its patience was
    over. ``kept_step`` is the step whose adapter was kept where the best was asked for; None: the last.
    """

    steps: int
    total_steps: int
    stopped: bool
    early: bool = False
    kept_step: int | None = None
