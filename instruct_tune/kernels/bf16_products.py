"""Products of frozen layers in bfloat16 while a run trains, on processors with units for them (Intel's AMX).

oneDNN rounds the factors of a float32 product to bfloat16, multiplies them on these units and adds up in float32.
Weights, activations, gradients and the adapter stay float32, and no second copy of the weights is made. At the shapes
of SmolLM2-135M, two cores of an Intel Xeon multiply at 850 to 1,250 GFLOP/s instead of 330.

PyTorch has one switch for all products of the process. It is on only within these layers: on for a whole step, it makes
attention three times slower, and LoRA's own matrices, which train, would be rounded too. So everything here is for the
one thread that computes with torch.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .linear import OneDnnHead, OneDnnLinear

CLEARLY_FASTER = 2.0
"""A product's speed in bfloat16 by that in float32. Below it a step gains little, and the noise of a machine's clock
could decide."""
FEWEST_WEIGHTS = 65_536
"""A smaller layer is left alone: to round its factors takes as long as is gained."""
TIMED_ROWS, TIMED_WIDTH, TIMINGS = 512, 1024, 5


def is_faster() -> bool:
    """Whether this processor multiplies clearly faster so."""
    return speedup() > CLEARLY_FASTER


@functools.cache
def speedup() -> float:
    """A product's speed in bfloat16 by that in float32, measured once a process in 50 ms; 0 where it cannot be."""
    if not (_switch() and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return 0.0
    input, weight = torch.ones(TIMED_ROWS, TIMED_WIDTH), torch.ones(TIMED_WIDTH, TIMED_WIDTH)
    float32 = bfloat16 = float("inf")
    for _ in range(TIMINGS):
        float32 = min(float32, _seconds(torch.nn.functional.linear, input, weight))
        bfloat16 = min(bfloat16, _seconds(_multiply, input, weight))
    return float32 / bfloat16


def _seconds(product: Callable[..., Tensor], input: Tensor, weight: Tensor) -> float:
    began = time.perf_counter()
    product(input, weight, None)
    return time.perf_counter() - began


def suitable_layers(model: torch.nn.Module) -> list[torch.nn.Linear]:
    """The layers of ``model`` that can multiply so: linear, frozen, in float32, on a CPU, and not too small."""
    return [
        layer
        for layer in model.modules()
        if type(layer) in (torch.nn.Linear, OneDnnLinear, OneDnnHead)
        and (weight := layer.weight).dtype is torch.float32
        and weight.device.type == "cpu"
        and weight.numel() >= FEWEST_WEIGHTS
        and not any(parameter.requires_grad for parameter in layer.parameters())
    ]


@contextmanager
def in_bf16(layers: Sequence[torch.nn.Linear]) -> Iterator[None]:
    """Inside, ``layers`` multiply in bfloat16, forward and backward, with gradients or without.

    So a layer that is computed a second time, under activation checkpointing, has the same numbers.
    """
    own = [layer.__class__ for layer in layers]
    for layer in layers:
        layer.__class__ = Bf16Linear
    try:
        yield
    finally:
        for layer, kind in zip(layers, own, strict=True):
            layer.__class__ = kind


class Bf16Linear(OneDnnLinear):
    """A frozen ``torch.nn.Linear`` whose products are in bfloat16; input, output and gradient are float32."""

    @staticmethod
    def product(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _multiply(input, weight, bias)

    @staticmethod
    def gradient_product(gradient: Tensor, weight: Tensor) -> Tensor:
        return _multiply(gradient, weight.t(), None)


def _multiply(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    switch = _switch()
    switch.fp32_precision = "bf16"
    try:
        return OneDnnLinear.product(input, weight, bias)
    finally:
        # As PyTorch begins: whatever else happens, nothing but these products is rounded.
        switch.fp32_precision = "none"


def _switch() -> Any:
    """What oneDNN may round float32 products to; None in a torch older than 2.9."""
    return getattr(torch.backends.mkldnn, "matmul", None)
