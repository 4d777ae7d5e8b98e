"""LoRA dropout with a faster random number generator on the CPU.

PyTorch draws a CPU dropout mask serially from a Mersenne Twister; with fast matrix products that is a twelfth of a
training step. Here one number of that generator, so that seeds and checkpoints stay valid, seeds SFC64, a fast
generator whose stream NumPy keeps stable. Sixteen of its bits decide an element. The probability is rounded to a
multiple of 1/65,536 (0.1 becomes 0.100006) and the scale uses the rounded one, so the expectation is exact.
"""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

LEVELS = 1 << 16


class FastDropout(torch.nn.Dropout):
    """``torch.nn.Dropout`` with a faster mask on a CPU; on other devices it is unchanged."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        dropped = round(self.p * LEVELS)
        if dropped == LEVELS:
            return torch.zeros_like(input)
        return input * (_draw(input.shape) >= dropped - LEVELS // 2).to(input.dtype).mul_(LEVELS / (LEVELS - dropped))


def use_fast_dropout(model: torch.nn.Module) -> None:
    """Replace the dropout of ``model``'s LoRA adapters by FastDropout; dropout in the base model is unchanged."""
    for path, module in model.named_modules():
        if type(module) is torch.nn.Dropout and ".lora_dropout." in path:
            module.__class__ = FastDropout


def _draw(shape: torch.Size) -> Tensor:
    """Uniform 16-bit integers, -32,768 to 32,767, from a generator seeded with PyTorch's next random number."""
    count = shape.numel()
    seed = int(torch.randint(2**63 - 1, ()))
    words = numpy.random.SFC64(seed).random_raw((count + 3) // 4)
    return torch.from_numpy(words.view(numpy.int16)[:count]).view(shape)
