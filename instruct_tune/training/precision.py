"""Whether a run's steps multiply in bfloat16 on a CPU: where that is faster, and the loss stays the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from ..config.run_config import TrainSettings
from ..kernels.bf16_products import in_bf16, is_faster, speedup, suitable_layers
from ..models.base_model import LoadedModel
from ..tokenization.encode import TokenizedExample

SAME_LOSS = 0.01
"""The most that the loss of the compared rows may change, in nats a supervised token."""
COMPARED_TOKENS = 256


def bf16_layers(
    loaded: LoadedModel,
    settings: TrainSettings,
    rows: Sequence[TokenizedExample],
    loss: Callable[[Sequence[TokenizedExample]], float],
    log_event: Callable[[str], None],
) -> list[torch.nn.Linear]:
    """The layers that are to multiply in bfloat16 while the run trains; none where that does not pay.

    Only ``auto`` compares speed and loss: ``train.bf16`` true or false says what to do. ``loss``: the mean loss of rows
    in nats a supervised token, without dropout.
    """
    if not _is_left_open(settings, loaded) or not is_faster():
        return []
    layers, compared = suitable_layers(loaded.base), shortest(rows)
    if not layers:
        return []
    in_float32 = loss(compared)
    if not math.isfinite(in_float32):
        # The first step says so.
        return []
    with in_bf16(layers):
        difference = abs(loss(compared) - in_float32)
    # Not "difference > SAME_LOSS": one that is not a number must not pass.
    if not difference <= SAME_LOSS:
        log_event(f"In bfloat16 the loss would change by {difference:.3f}, so all products stay float32.")
        return []
    log_event(
        "In training steps, frozen layers multiply in bfloat16, at least twice as fast on this processor: the loss of "
        f"the shortest rows changes by {difference:.4f}. All else is float32; with train.bf16 false these are too."
    )
    return layers


def resumed_bf16_layers(
    loaded: LoadedModel, settings: TrainSettings, used: bool, log_event: Callable[[str], None]
) -> list[torch.nn.Linear]:
    """The same for a run that goes on: as in its last session, if this processor can.

    ``used``: whether it multiplied so in that one. The clock decides only that another machine is not slower so: on the
    same one a resume must not differ.
    """
    if not used or not _is_left_open(settings, loaded):
        return []
    if speedup() > 1:
        return suitable_layers(loaded.base)
    log_event(
        "This processor is not faster in bfloat16, as that of the steps before was: products are float32 from now on."
    )
    return []


def shortest(rows: Sequence[TokenizedExample]) -> list[TokenizedExample]:
    """The shortest rows that carry loss: as many as have ``COMPARED_TOKENS`` together, at least one."""
    chosen: list[TokenizedExample] = []
    tokens = 0
    for row in sorted((row for row in rows if row.supervised), key=lambda row: len(row.input_ids)):
        tokens += len(row.input_ids)
        if chosen and tokens > COMPARED_TOKENS:
            break
        chosen.append(row)
    return chosen


def _is_left_open(settings: TrainSettings, loaded: LoadedModel) -> bool:
    on_cpu_in_float32 = loaded.device.type == "cpu" and loaded.base.dtype is torch.float32
    return settings.bf16 == "auto" and settings.fp16 is not True and on_cpu_in_float32
