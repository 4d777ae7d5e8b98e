"""An optimizer step's numbers: noted when the step has been asked for, read when the device has done it.

Reading a number off a GPU waits for all that was asked of it before, and what comes next is not even
prepared meanwhile. So there a step's numbers are read when the step after it has been asked for. A CPU
has done a step when it is noted, and its numbers are read at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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


class Readings:
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
