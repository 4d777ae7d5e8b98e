"""Advice, before a run starts, if it needs more memory than is free."""

from __future__ import annotations

import dataclasses

from .resources import Memory, size
from .workload import Work, Workload


def one_row_a_pass(work: Workload) -> Workload:
    """Return the same work with the smallest passes: ``largest`` is that of the longest row alone."""
    rows = work.train.rows
    longest = Work(1, max(tokens for tokens, _ in rows), max(supervised for _, supervised in rows))
    return dataclasses.replace(work, largest=longest)


def shortage(peak: Memory, alone: Memory, free: int | None, device: str, recomputes: bool) -> str | None:
    """Return advice about the memory; None if it is enough, or if ``free`` is unknown. Sizes are in bytes.

    ``alone``: the peak with one row per pass. ``recomputes``: whether the architecture supports gradient
    checkpointing. Only a GPU reports that it is out of memory, so that a run can continue with less (see
    ``training.micro_batches``). The machine's memory is shared: a process that takes too much is slowed down or killed
    without an error.
    """
    if free is None or peak.total <= free:
        return None
    needed = f"It needs about {size(peak.total)} of memory and {size(free)} are free: "
    if device != "cuda":
        return needed + "lower the batch size or the longest row, or choose a smaller model."
    if alone.total <= free:
        return needed + "it makes its passes smaller until they fit, which takes a little longer."
    kept = alone.activations + alone.logits
    if recomputes and alone.total - kept < free:
        return (
            f"{needed}not even the longest row fits alone, so layers will be computed twice from there on, which takes "
            "about a third longer. Lower the longest row, or choose a smaller model, and they are computed once."
        )
    return needed + "not even the longest row alone will fit. Choose a smaller model, or lower lora.r."
