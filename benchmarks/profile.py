"""Profile of a training step: time by kind of operator, and the speed of its largest matrix products.

An operator is known by its name and the shapes of its inputs, not by the kernel that a processor runs for it: frozen
layers multiply by oneDNN on one processor and by MKL on another, as do LoRA's matrices, of which one side is the rank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler

from instruct_tune.config.run_config import LoraSettings

from .measure import Row, Spread
from .ours import has_bf16_products, lab_trains
from .peak import training_operations
from .workload import Workload

BATCH = 8
FROZEN = "products of frozen layers"
LORA = "LoRA's narrow products"
REST = "norms, rotary, activations, dropout, copies"
NAMED = {"attention": ("scaled_dot_product",), "the loss": ("log_softmax", "nll_loss", "cross_entropy")}
"""Kind → substrings of operator names."""
PRODUCTS = (
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::matmul",
    "aten::linear",
    "_linear_pointwise",
)


def profile(work: Workload) -> Iterator[Row]:
    """Shares of an epoch's operator time at batch 8 on a CPU, and the frozen products' share of the peak"""
    yield from profile_rows(work, "of a step's time", bf16=False)
    if has_bf16_products(work.subject):
        yield from profile_rows(work, "of a step's time, products in bfloat16", bf16="auto")


def profile_rows(work: Workload, what: str, bf16: bool | str) -> Iterator[Row]:
    """The shares with ``train.bf16`` as given; the peak is float32's in both."""
    rows, base, lora = [ids for _, ids in work.training], work.subject.loaded.base, LoraSettings()
    lab_trains(work.subject, rows, BATCH, lora, bf16)
    with profiler(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        lab_trains(work.subject, rows, BATCH, lora, bf16)
    seconds: Counter[str] = Counter()
    for operator in profiled.key_averages(group_by_input_shape=True):
        seconds[kind_of(operator.key, operator.input_shapes, lora.r)] += operator.self_cpu_time_total / 1e6
    whole = sum(seconds.values())
    for kind, kind_seconds in seconds.most_common():
        share = 100 * kind_seconds / whole
        yield Row(f"{what}: {kind}", Spread.of([share]), unit="%", details={"seconds": kind_seconds})
    if work.subject.device.type == "cpu":
        tokens, supervised = sum(len(row.input_ids) for row in rows), sum(row.supervised for row in rows)
        speed = training_operations(base, tokens, supervised) / seconds[FROZEN]
        share = 100 * speed / work.peak
        yield Row("those products alone, share of the matrix-multiply peak in float32", Spread.of([share]), unit="%")


def kind_of(operator: str, shapes: Sequence[Sequence[int]], rank: int) -> str:
    """The part of a step that an operator of the profile belongs to. ``shapes``: of its inputs."""
    if named := next((kind for kind, names in NAMED.items() if any(name in operator for name in names)), None):
        return named
    if not any(name in operator for name in PRODUCTS):
        return REST
    # A product of a pass with rank-many tokens would count as LoRA's: no pass is that short.
    return LORA if any(rank in shape[-2:] for shape in shapes) else FROZEN
