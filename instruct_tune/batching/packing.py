"""Pack rows into batches without padding.

Rows are concatenated into one sequence with restarting positions. How they are kept apart depends on the
architecture; ``packing_trial`` finds out which way is exact for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..tokenization.encode import IGNORE, TokenizedExample
from .packing_mode import Packing

TOKENS_PER_PASS = {"cpu": 1024, "cuda": 8192}
"""The most tokens per forward pass, by device; a longer row gets a pass of its own.

Each pass reads all weights, and products of few tokens are slow: on two AVX2 cores 127, 141, 158, 164 and 163 tokens/s
at 256, 512, 768, 1,024 and 2,048 tokens a pass. The longest row that the presets train on has 1,024 tokens, so a full
pass needs no more memory than that row alone.
"""

Pack = dict[str, Tensor]
"""The inputs of one forward pass. Packed: ``input_ids``, ``labels`` and ``position_ids``, each [1, T], and
``attention_mask`` [1, 1, T, T] if the architecture needs it. Padded: [B, L] with a mask [B, L].
``kept`` [N]: indices into the flattened positions whose next token carries loss. It is computed on the CPU, since
``nonzero()`` on a GPU waits until the GPU has finished."""

CPU = torch.device("cpu")


def pack_rows(
    rows: Sequence[TokenizedExample], packing: Packing, pad_token_id: int, budget: int, device: torch.device = CPU
) -> list[Pack]:
    """Group whole rows, in order, into passes of at most ``budget`` tokens. Padded rows are sorted by length."""
    if packing is Packing.PADDED:
        rows = sorted(rows, key=lambda row: len(row.input_ids))
        return [padded(group, pad_token_id, device) for group in _groups(rows, budget, padded=True)]
    if packing is Packing.ALONE:
        return [padded([row], pad_token_id, device) for row in rows]
    return [packed(group, packing, device) for group in _groups(rows, budget, padded=False)]


def _groups(rows: Sequence[TokenizedExample], budget: int, padded: bool) -> Iterator[list[TokenizedExample]]:
    group: list[TokenizedExample] = []
    used = 0
    for row in rows:
        length = len(row.input_ids)
        # Padded rows are sorted by length, so the newest is the longest and sets the width.
        needed = length * (len(group) + 1) if padded else used + length
        if group and needed > budget:
            yield group
            group, used = [], 0
        group.append(row)
        used += length
    if group:
        yield group


def packed(rows: Sequence[TokenizedExample], packing: Packing, device: torch.device = CPU) -> Pack:
    lengths = [len(row.input_ids) for row in rows]
    # No position predicts a row's first token: the position before it belongs to another row.
    labels = torch.tensor([[i for row in rows for i in (IGNORE, *row.labels[1:])]])
    pack = {
        "input_ids": torch.tensor([[i for row in rows for i in row.input_ids]]),
        "labels": labels,
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "kept": _supervised_positions(labels),
    }
    pack = {name: _to_device(values, device) for name, values in pack.items()}
    if packing is Packing.MASK:
        row_of = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        pack["attention_mask"] = _block_causal_mask(_to_device(row_of, device))
    return pack


def _block_causal_mask(row_of: Tensor) -> Tensor:
    """Return [1, 1, T, T], True where a position attends: same row, not later. ``row_of`` [T]: row of each position."""
    same_row = row_of[:, None] == row_of[None, :]
    return (same_row & torch.ones_like(same_row).tril())[None, None]


def padded(rows: Sequence[TokenizedExample], pad_token_id: int, device: torch.device = CPU) -> Pack:
    width = max(len(row.input_ids) for row in rows)

    def fill(values: Sequence[int], filler: int) -> list[int]:
        return [*values, *[filler] * (width - len(values))]

    labels = torch.tensor([fill((IGNORE, *row.labels[1:]), IGNORE) for row in rows])
    pack = {
        "input_ids": torch.tensor([fill(row.input_ids, pad_token_id) for row in rows]),
        "labels": labels,
        # By position, never by token id: the padding token may be EOS, which carries loss.
        "attention_mask": torch.tensor([fill([1] * len(row.input_ids), 0) for row in rows]),
        "kept": _supervised_positions(labels),
    }
    return {name: _to_device(values, device) for name, values in pack.items()}


def _supervised_positions(labels: Tensor) -> Tensor:
    """Return indices into the flattened [B, L] whose next token carries loss. A row's first token never does."""
    return (labels.flatten()[1:] != IGNORE).nonzero().squeeze(1)


def _to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; to a GPU from pinned memory, so that the copy does not block."""
    return values if device.type == "cpu" else values.pin_memory().to(device, non_blocking=True)
