"""Profile of a training step: time by kind of operator, and the speed of its largest matrix products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler

from .measure import Row, Spread
from .ours import lab_trains
from .peak import training_operations
from .workload import Workload

BATCH = 8
KINDS = {
    "attention": ("scaled_dot_product",),
    "products of frozen layers": ("_linear_pointwise", "aten::addmm", "aten::linear"),
    "LoRA's narrow products": ("aten::mm", "aten::bmm", "aten::matmul"),
    "the loss": ("log_softmax", "nll_loss", "cross_entropy"),
}
"""Kind → substrings of operator names; the first match counts, the rest is elementwise and bookkeeping."""
REST = "norms, rotary, activations, dropout, copies"


def profile(work: Workload) -> Iterator[Row]:
    """Shares of an epoch's operator time at batch 8 on a CPU, and the frozen products' share of the peak"""
    rows, base = [ids for _, ids in work.training], work.subject.loaded.base
    lab_trains(work.subject, rows, BATCH)
    with profiler(activities=[ProfilerActivity.CPU]) as profiled:
        lab_trains(work.subject, rows, BATCH)
    seconds: Counter[str] = Counter()
    for operator in profiled.key_averages():
        seconds[kind_of(operator.key)] += operator.self_cpu_time_total / 1e6
    whole = sum(seconds.values())
    for kind, kind_seconds in seconds.most_common():
        share = 100 * kind_seconds / whole
        yield Row(f"of a step's time: {kind}", Spread.of([share]), unit="%", details={"seconds": kind_seconds})
    if work.subject.device.type == "cpu":
        tokens, supervised = sum(len(row.input_ids) for row in rows), sum(row.supervised for row in rows)
        speed = training_operations(base, tokens, supervised) / seconds["products of frozen layers"]
        share = 100 * speed / work.peak
        yield Row("those products alone, share of the matrix-multiply peak", Spread.of([share]), unit="%")


def kind_of(operator: str) -> str:
    """The part of a step that an operator of the profile belongs to."""
    return next((kind for kind, names in KINDS.items() if any(name in operator for name in names)), REST)
