"""Stop a forward or backward pass between two layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import Stopped


@contextmanager
def interruptible(model: torch.nn.Module, stopping: Callable[[], bool]) -> Iterator[None]:
    """Inside, forward and backward passes of ``model`` raise Stopped at the next layer once ``stopping()`` is true.

    The check changes no number. After Stopped the gradients may be those of half a step: discard them.
    """

    def check(*_: Any) -> None:
        if stopping():
            raise Stopped

    def before_layer(layer: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        check()
        # The first layer's input needs no gradient, since the modules below it are frozen.
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(check)

    stacks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    handles = [layer.register_forward_pre_hook(before_layer) for stack in stacks for layer in stack]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
