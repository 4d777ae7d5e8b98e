"""What an optimizer step comes to: its loss and tokens over all micro-batches, told when the numbers are there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..batching.packing import supervised_count
from ..errors import DivergedError
from ..tokenization.encode import TokenizedExample
from .readings import Numbers, Readings, Step
from .types import Watcher


class Tally:
    """Adds a step up and tells ``watcher`` of it.

    Raises DivergedError where a loss or gradient norm turns out not to be finite; ``learning_rate`` is what
    its sentence proposes to lower.
    """

    def __init__(self, device: torch.device, watcher: Watcher, learning_rate: float):
        self.device, self.watcher, self.learning_rate = device, watcher, learning_rate
        self.readings = Readings(device, self._tell)
        self.loss, self.tokens, self.supervised = torch.zeros((), device=device), 0, 0

    def begin(self) -> None:
        """A step begins; what was served between steps does not count."""
        self.loss, self.tokens, self.supervised = torch.zeros((), device=self.device), 0, 0
        self.readings.begin()

    def add(self, rows: Sequence[TokenizedExample], loss: Tensor) -> None:
        """A micro-batch is done; ``loss`` is its share of the step's, still on the device."""
        self.loss = self.loss + loss
        self.tokens += sum(len(row.input_ids) for row in rows)
        self.supervised += supervised_count(rows)

    def note(self, number: int, epoch: float, learning_rate: float, grad_norm: Tensor, skipped: bool) -> None:
        """The step has been asked for; its numbers are told as soon as reading them keeps nobody waiting."""
        step = Step(number, epoch, learning_rate, self.tokens, self.supervised, skipped)
        self.readings.note(step, self.loss, grad_norm)

    def flush(self) -> None:
        """Tell what has not been told yet, waiting for it."""
        self.readings.flush()

    def _tell(self, step: Step, numbers: Numbers) -> None:
        loss, norm = numbers.loss, numbers.grad_norm
        if not math.isfinite(loss) or not (step.skipped or math.isfinite(norm)):
            raise DivergedError(
                f"The loss is not a finite number at step {step.number}: lower train.learning_rate "
                f"(now {self.learning_rate:g}) or set train.max_grad_norm to 1."
            )
        values = {
            "loss": loss,
            "learning_rate": step.learning_rate,
            "grad_norm": norm if math.isfinite(norm) else 0.0,
            "tokens": step.tokens,
            "supervised": step.supervised,
            "seconds": numbers.seconds,
            "tokens_per_second": step.tokens / numbers.seconds,
        }
        self.watcher.metric("train", step.number, step.epoch, values)
