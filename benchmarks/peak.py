"""How fast the machine multiplies matrices, and how much multiplying a training step needs at least.

A step's useful work is counted as 4 × parameters touched × tokens: forward, each weight is one
multiplication and one addition a token; backward through a frozen weight as much again, for the
gradient of its input (a weight that trains would need its own gradient, two more). A parameter is
touched by every token if it is in one of the model's linear layers, by the supervised tokens alone
if it is in the LM head; embeddings are looked up, not multiplied. Attention's squares and LoRA's
own narrow matrices are left out, and so is all that is computed for nothing: padding, logits of the
prompt. Hence the share of the peak compares what different ways get done, not how busy they are.
"""

from __future__ import annotations

import time

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192)}
"""Square matrices that are tried; the fastest counts."""
REPEAT = 5


def matmul_peak(device: torch.device, dtype: torch.dtype, sides: tuple[int, ...] = ()) -> float:
    """The most operations (additions and multiplications) a second that any square matrix product reached."""
    return max(_fastest(side, device, dtype) for side in sides or SIDES[device.type])


def _fastest(side: int, device: torch.device, dtype: torch.dtype) -> float:
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    ways = [torch.mm]
    if device.type == "cpu" and dtype is torch.float32 and torch.backends.mkldnn.is_available():
        # PyTorch's own choice on a CPU is MKL, not the fastest on every processor (instruct_tune.kernels.linear).
        ways.append(lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return max(2 * side**3 / _seconds(way, a, b) for way in ways)


def _seconds(way, a: torch.Tensor, b: torch.Tensor) -> float:
    found = []
    for _ in range(REPEAT + 1):
        began = time.perf_counter()
        way(a, b)
        if a.device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[1:])


def training_operations(base: PreTrainedModel, tokens: int, supervised: int) -> float:
    """Useful operations of a training pass over ``tokens``, of which ``supervised`` carry loss."""
    head = base.get_output_embeddings()
    body = sum(
        module.weight.numel()
        for path, module in base.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head and "lora_" not in path
    )
    return 4 * (body * tokens + head.weight.numel() * supervised)
