"""Leaving the model in the middle of its work: between two layers, on the way there and on the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import Stopped


@contextmanager
def interruptible(model: torch.nn.Module, stopping: Callable[[], bool]) -> Iterator[None]:
    """Inside, a forward or backward pass of ``model`` is left with Stopped at the next layer once ``stopping`` says so.

    Asking changes no number. Gradients may then be those of half a step: throw them away.
    """

    def check(*_: Any) -> None:
        if stopping():
            raise Stopped

    def on_the_way(layer: torch.nn.Module, given: tuple[Any, ...]) -> None:
        check()
        # The first layer's input needs no gradient, since what is below it is frozen.
        if given and isinstance(given[0], torch.Tensor) and given[0].requires_grad:
            given[0].register_hook(check)

    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    handles = [layer.register_forward_pre_hook(on_the_way) for stack in stacks for layer in stack]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
