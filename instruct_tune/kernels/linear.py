"""Frozen linear layers through oneDNN on processors where MKL does not use AVX-512.

PyTorch multiplies float32 matrices with MKL, which uses AVX-512 on Intel processors only. oneDNN, which PyTorch also
ships, uses it everywhere: on a fifth-generation AMD EPYC, 255 GFLOP/s per core instead of 115, measured at this lab's
shapes. The results are equal up to rounding.

A layer with trainable weights is left alone, because only the gradient of the input is computed here.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def use_onednn_linear(model: torch.nn.Module) -> int:
    """Let ``model``'s plain linear layers compute with oneDNN if that is faster; returns how many do.

    Weights, names and gradients do not change.
    """
    if not is_faster():
        return 0
    layers = [module for module in model.modules() if type(module) is torch.nn.Linear]
    for layer in layers:
        layer.__class__ = OneDnnLinear
    return len(layers)


@functools.cache
def is_faster() -> bool:
    """Whether this processor has AVX-512 that MKL does not use.

    Decided by the vendor's name, not by timing, so that a resumed run uses the same code.
    """
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()):
        return False
    return "AVX512" in torch.backends.cpu.get_cpu_capability() and processor_vendor() not in ("", "GenuineIntel")


def computed_by(device: torch.device) -> str:
    """The library that multiplies the matrices of frozen layers; runs record it, because their speed depends on it."""
    if device.type == "cuda":
        return "cuBLAS"
    return "oneDNN" if is_faster() or not torch.backends.mkl.is_available() else "MKL"


def processor_vendor() -> str:
    """The processor's ``vendor_id``; empty if the system does not report it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


class OneDnnLinear(torch.nn.Linear):
    """``torch.nn.Linear`` that uses oneDNN if its weights are frozen, in float32 and on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        if not self._uses_onednn(input):
            return super().forward(input)
        if torch.is_grad_enabled() and input.requires_grad:
            return _Frozen.apply(input, self.weight, self.bias)
        return _multiply(input, self.weight, self.bias)

    def _uses_onednn(self, input: Tensor) -> bool:
        trains = torch.is_grad_enabled() and (
            self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)
        )
        in_float32 = input.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return in_float32 and not trains and input.device.type == "cpu" and input.numel() > 0


class _Frozen(torch.autograd.Function):
    """The linear map with the gradient of its input only."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _multiply(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _multiply(gradient, weight.t(), None), None, None


def _multiply(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``input @ weight.T + bias`` by the operator of torch.compile's CPU backend, without a fused activation."""
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


def gradient_of_input(layer: torch.nn.Linear, gradient: Tensor) -> Tensor:
    """The gradient of ``layer``'s input from ``gradient``, that of its output."""
    if isinstance(layer, OneDnnLinear) and layer._uses_onednn(gradient):
        return _multiply(gradient, layer.weight.t(), None)
    return gradient @ layer.weight
