"""What an optimizer step comes to: its loss and tokens over all micro-batches, told when the numbers are there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..batching.packing import supervised_count
from ..errors import DivergedError
from ..tokenization.encode import TokenizedExample
from .types import TrainingListener


@dataclass(frozen=True)
class Step:
    """What is known of a step when it has been asked for.

    ``skipped``: its gradients overflowed float16, so that the optimizer left them out.
    """

    number: int
    epoch: float
    learning_rate: float
    tokens: int
    supervised: int
    skipped: bool


@dataclass(frozen=True)
class Numbers:
    """What only the device knows: the loss (nats a supervised token), the gradients' norm, the seconds it took."""

    loss: float
    grad_norm: float
    seconds: float


def reads_late(device: torch.device) -> bool:
    """Whether a step's numbers are read one step later."""
    return device.type == "cuda"


class DeferredReadings:
    """Tells ``told`` each step's numbers, in their order, at most one step late."""

    def __init__(self, device: torch.device, told: Callable[[Step, Numbers], None]):
        self.device, self.told = device, told
        self._began: Any = None
        self._unread: tuple[Step, Tensor, Any, Any] | None = None

    def begin(self) -> None:
        """A step begins here; what was served before it is not its time."""
        self._began = self._mark()

    def note(self, step: Step, loss: Tensor, grad_norm: Tensor) -> None:
        """A step has been asked for."""
        # Into memory of the host's own, without waiting; a copy, so that the next step may write over them.
        numbers = torch.stack([loss.float(), grad_norm.float()]).to("cpu", non_blocking=True)
        noted = (step, numbers, self._began, self._mark())
        self.flush()
        self._unread = noted
        if not reads_late(self.device):
            self.flush()

    def flush(self) -> None:
        """Read what has not been read yet, waiting for it."""
        unread, self._unread = self._unread, None
        if unread is None:
            return
        step, numbers, began, ended = unread
        seconds = self._seconds(began, ended)
        loss, grad_norm = numbers.tolist()
        self.told(step, Numbers(loss, grad_norm, seconds))

    def _mark(self) -> Any:
        """A moment: the clock's seconds, or a GPU's own mark between two pieces of its work."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, began: Any, ended: Any) -> float:
        """Between two marks; on a GPU this waits until it has come to the second."""
        if self.device.type != "cuda":
            return ended - began
        ended.synchronize()
        return began.elapsed_time(ended) / 1000


class StepMetrics:
    """Adds a step up and tells ``watcher`` of it.

    Raises DivergedError where a loss or gradient norm turns out not to be finite; ``learning_rate`` is what
    its sentence proposes to lower.
    """

    def __init__(self, device: torch.device, watcher: TrainingListener, learning_rate: float):
        self.device, self.watcher, self.learning_rate = device, watcher, learning_rate
        self.readings = DeferredReadings(device, self._tell)
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
