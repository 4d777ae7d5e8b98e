"""LoRA's dropout with random numbers that cost less than what they are drawn for.

PyTorch draws a CPU's dropout mask one number after another from a Mersenne twister: with the matrices
done fast, a twelfth of a training step. Here one number of that generator, so that a seed and a
checkpoint mean what they meant, seeds a small fast one (SFC64, whose stream NumPy keeps stable), and
sixteen bits of it decide an element. The probability is a multiple of 1/65,536 (0.1 becomes
0.100006), and the scale belongs to that one, so the expectation is exact.
"""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

LEVELS = 1 << 16


class FastDropout(torch.nn.Dropout):
    """``torch.nn.Dropout``, drawn faster on a CPU; on other devices the library's own."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        dropped = round(self.p * LEVELS)
        if dropped == LEVELS:
            return torch.zeros_like(input)
        return input * (_draw(input.shape) >= dropped - LEVELS // 2).to(input.dtype).mul_(LEVELS / (LEVELS - dropped))


def use_fast_dropout(model: torch.nn.Module) -> None:
    """Let the dropout of ``model``'s adapters draw fast; the base's own stays the library's."""
    for path, module in model.named_modules():
        if type(module) is torch.nn.Dropout and ".lora_dropout." in path:
            module.__class__ = FastDropout


def _draw(shape: torch.Size) -> Tensor:
    """Even 16-bit integers, -32,768 to 32,767, from a generator seeded by the next number of PyTorch's."""
    count = shape.numel()
    seed = int(torch.randint(2**63 - 1, ()))
    words = numpy.random.SFC64(seed).random_raw((count + 3) // 4)
    return torch.from_numpy(words.view(numpy.int16)[:count]).view(shape)
