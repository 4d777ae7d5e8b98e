"""The machine's matrix-multiply peak, and the operations that a training step needs at least.

The useful work of a step is 4 × parameters × tokens. Forward, each weight costs one multiplication and one addition a
token. Backward through a frozen weight costs as much again, for the gradient of its input (a trainable weight would
need two more operations for its own gradient). Weights of linear layers count for every token, those of the LM head
only for supervised tokens; embeddings are looked up, not multiplied. Attention scores and LoRA's narrow matrices are
left out, and so is wasted work: padding, logits of the prompt. So the share of the peak compares the useful work of
different ways of training, not how busy the machine is.
"""

from __future__ import annotations

import time

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
"""Sides of the square matrices to try; the fastest counts."""
REPEAT = 5


def matmul_peak(device: torch.device, dtype: torch.dtype, sides: tuple[int, ...] = ()) -> float:
    """The highest rate of any square matrix product, in operations (additions and multiplications) a second."""
    return max(_fastest(side, device, dtype) for side in sides or SIDES[device.type])


def _fastest(side: int, device: torch.device, dtype: torch.dtype) -> float:
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    ways = [torch.mm]
    if device.type == "cpu" and dtype is torch.float32 and torch.backends.mkldnn.is_available():
        # PyTorch uses MKL on a CPU, which is not the fastest on every processor (instruct_tune.kernels.linear).
        ways.append(lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return max(2 * side**3 / _seconds(way, a, b) for way in ways)


def _seconds(product, a: torch.Tensor, b: torch.Tensor) -> float:
    times = []
    for _ in range(REPEAT + 1):
        began = time.perf_counter()
        product(a, b)
        if a.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def training_operations(base: PreTrainedModel, tokens: int, supervised: int) -> float:
    """Useful operations of a training pass over ``tokens``, of which ``supervised`` carry loss."""
    head = base.get_output_embeddings()
    body = sum(
        module.weight.numel()
        for path, module in base.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head and "lora_" not in path
    )
    return 4 * (body * tokens + head.weight.numel() * supervised)
