"""Frozen linear layers through oneDNN on processors where MKL is slower.

PyTorch multiplies float32 matrices with MKL, which uses AVX-512 on Intel processors only. oneDNN, which PyTorch also
ships, uses it everywhere: on a fifth-generation AMD EPYC, 255 GFLOP/s per core instead of 115, measured at this lab's
shapes. Without AVX-512 both reach the same, but for an LM head: MKL divides a product of few rows and very many columns
badly. On two AVX2 cores of an AMD EPYC, 24 rows by a head of 576 to 49,152 take oneDNN half the time, and 85 rows six
tenths of it; the gradient takes it a tenth longer. The results are equal up to rounding.

A layer with trainable weights is left alone, because only the gradient of the input is computed here.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def use_onednn_linear(model: PreTrainedModel) -> None:
    """Let ``model``'s plain linear layers compute with oneDNN where that is faster. Weights and names do not change."""
    if is_faster():
        for layer in model.modules():
            _change(layer, OneDnnLinear)
    elif heads_are_faster():
        _change(model.get_output_embeddings(), OneDnnHead)


def _change(layer: torch.nn.Module | None, own: type[OneDnnLinear]) -> None:
    if type(layer) is torch.nn.Linear:
        layer.__class__ = own


@functools.cache
def is_faster() -> bool:
    """Whether this processor has AVX-512 that MKL does not use.

    Decided by the vendor's name, not by timing, so that a resumed run uses the same code.
    """
    return _beside_mkl() and "AVX512" in torch.backends.cpu.get_cpu_capability()


@functools.cache
def heads_are_faster() -> bool:
    """Whether an LM head's forward product is faster through oneDNN, though other layers' are not."""
    return _beside_mkl() and torch.backends.cpu.get_cpu_capability() == "AVX2"


def _beside_mkl() -> bool:
    """Whether both libraries are there, and the processor is not of MKL's own vendor."""
    both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    return both and processor_vendor() not in ("", "GenuineIntel")


def computed_by(device: torch.device) -> str:
    """The library that multiplies the matrices of frozen layers; runs record it, because their speed and their last
    digits depend on it."""
    if device.type == "cuda":
        return "cuBLAS"
    if is_faster() or not torch.backends.mkl.is_available():
        return "oneDNN"
    return "MKL, the LM head by oneDNN" if heads_are_faster() else "MKL"


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
            return _Frozen.apply(input, self)
        return self.product(input, self.weight, self.bias)

    @staticmethod
    def product(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``input @ weight.T + bias`` by the operator of torch.compile's CPU backend, without a fused activation."""
        return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")

    @staticmethod
    def gradient_product(gradient: Tensor, weight: Tensor) -> Tensor:
        """The gradient of the input from ``gradient``, that of the output."""
        return OneDnnLinear.product(gradient, weight.t(), None)

    def _uses_onednn(self, input: Tensor) -> bool:
        trains = torch.is_grad_enabled() and (
            self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)
        )
        in_float32 = input.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return in_float32 and not trains and input.device.type == "cpu" and input.numel() > 0


class OneDnnHead(OneDnnLinear):
    """The same, with a gradient by MKL: for an LM head where other layers are MKL's too."""

    @staticmethod
    def gradient_product(gradient: Tensor, weight: Tensor) -> Tensor:
        return gradient @ weight


class _Frozen(torch.autograd.Function):
    """The linear map with the gradient of its input only."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: OneDnnLinear) -> Tensor:
        ctx.product = layer.gradient_product
        # Saved so that autograd raises where the weight changes before the backward pass.
        ctx.save_for_backward(layer.weight)
        return layer.product(input, layer.weight, layer.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return ctx.product(gradient, weight), None


def gradient_of_input(layer: torch.nn.Linear, gradient: Tensor) -> Tensor:
    """The gradient of ``layer``'s input from ``gradient``, that of its output."""
    if isinstance(layer, OneDnnLinear) and layer._uses_onednn(gradient):
        return layer.gradient_product(gradient, layer.weight)
    return gradient @ layer.weight
