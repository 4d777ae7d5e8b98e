"""The types at the boundary of a training run: its data, its listener and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..tokenization.encode import TokenizedExample


class TrainingListener(Protocol):
    """Receives a run's events, on the thread that trains."""

    def log_event(self, text: str) -> None:
        """Add one sentence to the run's log."""

    def phase(self, name: str) -> None:
        """``training``, ``evaluating`` or ``saving`` begins."""

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        """Measured values; losses are in nats a supervised token.

        ``kind``: ``train``, ``probe``, ``general`` or ``eval``.
        """

    def multiplies(self, in_bf16: bool) -> None:
        """Whether frozen layers multiply in bfloat16 in the steps from now on, though the run is float32 elsewhere."""

    def progress(self, step: int, total_steps: int) -> None:
        """``step`` optimizer steps of ``total_steps`` are done."""

    def part(self, done: int, total: int) -> None:
        """Progress within a phase: passes of an evaluation."""

    def probed(self, step: int, adapter_name: str) -> None:
        """The losses after ``step`` steps are measured; the listener may now let the model answer, too.

        Called at every ``sample_every``-th probe, the first and the last among them.

        ``adapter_name`` is the adapter that the run had after those steps, or ``lora.BASE`` at step 0 of a run that
        begins as base; that call comes after the first step. An implementation restores the active adapter,
        the model's mode and the random states.
        """

    def evaluated(self, step: int, epoch: float) -> None:
        """The evaluation loss after ``step`` steps is measured; the listener may now evaluate the run's adapter, too.

        What an implementation restores is that of ``probed``.
        """

    def yield_to_queue(self) -> None:
        """Between two steps: run a waiting short job."""

    def stopping(self) -> bool:
        """Whether a person requested a stop."""


@dataclass(frozen=True)
class TrainingData:
    """The rows that a run trains on and is validated on; ``evaluation`` and ``probe`` share no row.

    ``general``: plain text that is measured at every ``sample_every``-th probe.
    """

    train: Sequence[TokenizedExample]
    evaluation: Sequence[TokenizedExample]
    probe: Sequence[TokenizedExample]
    general: Sequence[TokenizedExample] = ()


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    ``stopped``: a person stopped it before its last step. ``early``: early stopping ended it.
    ``kept_step``: the step of the best adapter, where ``load_best_model_at_end`` keeps that; None: the last step.
    """

    steps: int
    total_steps: int
    stopped: bool
    early: bool = False
    kept_step: int | None = None
