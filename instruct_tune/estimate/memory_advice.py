"""What becomes of a run that needs more memory than is free, said before it starts."""

from __future__ import annotations

import dataclasses

from .workload import Memory, Work, Workload, size


def one_row_a_pass(work: Workload) -> Workload:
    """The same work with passes as small as they get; its ``largest`` is that of the longest row alone."""
    rows = work.train.rows
    longest = Work(1, max(tokens for tokens, _ in rows), max(supervised for _, supervised in rows))
    return dataclasses.replace(work, largest=longest)


def shortage(peak: Memory, alone: Memory, free: int | None, device: str, recomputes: bool) -> str | None:
    """What a person should know of the memory (bytes); None where it is enough, or nobody tells how much is free.

    ``alone``: the peak with one row a pass. ``recomputes``: whether the architecture can compute layers twice.
    Only a GPU refuses what does not fit, so that a run can make do with less (see ``passes``). The memory of a
    machine is lent to everybody, and who takes too much of it is slowed down or ended without a word.
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
