"""Greedy decoding: the most likely token, again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import Stopped
from ..kernels.kv_cache import growing_cache
from ..models.active_rows import ActiveRows, Prompts
from .traces import Candidate, GreedyTrace

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompts: Prompts,
    new_tokens: int,
    ends: Sequence[int],
    on_step: Callable[[list[list[int]]], None],
    stopping: Callable[[], bool],
    candidates: int = 0,
    halted: Callable[[list[int]], bool] | None = None,
) -> list[tuple[list[int], GreedyTrace]]:
    """Each row's ids until one of ``ends`` (kept) or ``new_tokens``, and what they were chosen from.

    ``on_step`` sees the ids of all rows after each token. ``candidates``: how many of each step the
    traces keep. ``halted`` says of a row's ids that no more are wanted. Raises Stopped.
    """
    said: list[list[int]] = [[] for _ in prompts.input_ids]
    seen: list[list[tuple[Candidate, ...]]] = [[] for _ in said]
    end_ids = torch.tensor(ends, device=prompts.input_ids.device)
    rows = ActiveRows(model, prompts, growing_cache(model.config))
    new, mask, positions = prompts.input_ids, prompts.attention_mask, prompts.positions
    ended = torch.zeros(len(said), dtype=torch.bool, device=new.device)
    for _ in range(new_tokens):
        logits = rows.read(new, mask, positions, 1)[:, -1]
        token = logits.argmax(-1)
        likely = _likely(logits, candidates) if candidates else [()] * len(token)
        for row, word, over, chances in zip(rows.numbers.tolist(), token.tolist(), ended.tolist(), likely, strict=True):
            if not over:
                said[row].append(word)
                seen[row].append(chances)
        ended |= torch.isin(token, end_ids)
        if halted:
            ended |= torch.tensor([halted(said[row]) for row in rows.numbers.tolist()], device=ended.device)
        if stopping():
            raise Stopped
        on_step(said)
        if ended.all():
            break
        mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
        new, positions = token[:, None], positions[:, -1:] + 1
        staying = rows.leaving(ended)
        if staying is not None:
            ended, mask, new, positions = ended[staying], mask[staying], new[staying], positions[staying]
    return [(ids, GreedyTrace(tuple(steps))) for ids, steps in zip(said, seen, strict=True)]


def _likely(logits: Tensor, count: int) -> list[tuple[Candidate, ...]]:
    found = logits.log_softmax(-1).topk(min(count, logits.shape[-1]))
    rows = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return [tuple(map(Candidate, tokens, chances)) for tokens, chances in rows]
