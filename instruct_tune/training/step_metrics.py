"""The metrics of an optimizer step: loss and tokens over all micro-batches.

``.item()`` synchronises with the GPU and leaves it idle, so there step N's numbers are read after step N+1 is launched.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..batching.loss import supervised_count
from ..errors import DivergedError
from ..tokenization.encode import TokenizedExample
from .types import TrainingListener


@dataclass(frozen=True)
class Step:
    """The values of a step that are known as soon as it is launched.

    ``skipped``: its gradients overflowed float16, so the optimizer did not apply them.
    """

    number: int
    epoch: float
    learning_rate: float
    tokens: int
    supervised: int
    skipped: bool


@dataclass(frozen=True)
class Numbers:
    """The values of a step that the device computes: loss (nats a supervised token), gradient norm, duration."""

    loss: float
    grad_norm: float
    seconds: float


def reads_late(device: torch.device) -> bool:
    """Whether a step's numbers are read one step later."""
    return device.type == "cuda"


class DeferredReadings:
    """Calls ``on_numbers`` with each step's numbers, in order and at most one step late."""

    def __init__(self, device: torch.device, on_numbers: Callable[[Step, Numbers], None]):
        self.device, self.on_numbers = device, on_numbers
        self._began: Any = None
        self._unread: tuple[Step, Tensor, Any, Any] | None = None

    def begin(self) -> None:
        """Start the step's clock, so that jobs that ran between steps do not count."""
        self._began = self._mark()

    def note(self, step: Step, loss: Tensor, grad_norm: Tensor) -> None:
        """The step has been launched."""
        # Copied to the host without waiting, so that the next step may overwrite the tensors.
        numbers = torch.stack([loss.float(), grad_norm.float()]).to("cpu", non_blocking=True)
        launched = (step, numbers, self._began, self._mark())
        self.flush()
        self._unread = launched
        if not reads_late(self.device):
            self.flush()

    def flush(self) -> None:
        """Wait for the step that has not been read yet, and read it."""
        unread, self._unread = self._unread, None
        if unread is None:
            return
        step, numbers, began, ended = unread
        seconds = self._seconds(began, ended)
        loss, grad_norm = numbers.tolist()
        self.on_numbers(step, Numbers(loss, grad_norm, seconds))

    def _mark(self) -> Any:
        """A point in time: seconds of the clock, or a CUDA event on a GPU."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, began: Any, ended: Any) -> float:
        """Seconds between two marks; on a GPU this waits for the second one."""
        if self.device.type != "cuda":
            return ended - began
        ended.synchronize()
        return began.elapsed_time(ended) / 1000


class StepMetrics:
    """Sums up a step's micro-batches and passes its metrics to ``listener``.

    Raises DivergedError where a loss or gradient norm is not finite; its message proposes to lower
    ``learning_rate``.
    """

    def __init__(self, device: torch.device, listener: TrainingListener, learning_rate: float):
        self.device, self.listener, self.learning_rate = device, listener, learning_rate
        self.readings = DeferredReadings(device, self._report)
        self.loss, self.tokens, self.supervised = torch.zeros((), device=device), 0, 0

    def begin(self) -> None:
        """A step begins. Jobs that ran between the steps do not count."""
        self.loss, self.tokens, self.supervised = torch.zeros((), device=self.device), 0, 0
        self.readings.begin()

    def add(self, rows: Sequence[TokenizedExample], loss: Tensor) -> None:
        """Add a micro-batch. ``loss``: its share of the step's loss, still on the device."""
        self.loss = self.loss + loss
        self.tokens += sum(len(row.input_ids) for row in rows)
        self.supervised += supervised_count(rows)

    def note(self, number: int, epoch: float, learning_rate: float, grad_norm: Tensor, skipped: bool) -> None:
        """The step has been launched; its metrics follow as soon as reading them does not stall the device."""
        step = Step(number, epoch, learning_rate, self.tokens, self.supervised, skipped)
        self.readings.note(step, self.loss, grad_norm)

    def flush(self) -> None:
        """Wait for metrics that are still to come, and pass them on."""
        self.readings.flush()

    def _report(self, step: Step, numbers: Numbers) -> None:
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
        self.listener.metric("train", step.number, step.epoch, values)
