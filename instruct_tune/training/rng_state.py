"""Capture and restore the states of all random number generators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch


def capture(device: torch.device) -> dict[str, Any]:
    """The states of Python's, NumPy's and PyTorch's generators, and of the GPUs' where ``device`` is a GPU."""
    return {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if device.type == "cuda" else [],
    }


@contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """Restore the generators' states on exit, whatever is drawn or seeded inside."""
    states = capture(device)
    try:
        yield
    finally:
        restore(states)


def restore(states: dict[str, Any]) -> None:
    """Set the generators to ``states``, a result of ``capture``."""
    random.setstate(states["python"])
    numpy.random.set_state(states["numpy"])
    torch.set_rng_state(states["cpu"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
