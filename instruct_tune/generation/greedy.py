"""Greedy decoding: the most likely token at each step."""

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
    """Each row's ids until one of ``ends`` (kept) or ``new_tokens``, and their candidates.

    ``on_step`` gets the ids of all rows after each token. ``candidates``: how many of them the traces keep
    for each step. ``halted``: whether a row's ids are complete, so that the row ends. Raises Stopped.
    """
    generated: list[list[int]] = [[] for _ in prompts.input_ids]
    traces: list[list[tuple[Candidate, ...]]] = [[] for _ in generated]
    end_ids = torch.tensor(ends, device=prompts.input_ids.device)
    rows = ActiveRows(model, prompts, growing_cache(model.config))
    new, mask, positions = prompts.input_ids, prompts.attention_mask, prompts.positions
    ended = torch.zeros(len(generated), dtype=torch.bool, device=new.device)
    for _ in range(new_tokens):
        logits = rows.read(new, mask, positions, 1)[:, -1]
        token = logits.argmax(-1)
        likely = _top_candidates(logits, token, candidates) if candidates else [()] * len(token)
        for row, token_id, has_ended, chances in zip(
            rows.numbers.tolist(), token.tolist(), ended.tolist(), likely, strict=True
        ):
            if not has_ended:
                generated[row].append(token_id)
                traces[row].append(chances)
        ended |= torch.isin(token, end_ids)
        if halted:
            ended |= torch.tensor([halted(generated[row]) for row in rows.numbers.tolist()], device=ended.device)
        if stopping():
            raise Stopped
        on_step(generated)
        if ended.all():
            break
        mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
        new, positions = token[:, None], positions[:, -1:] + 1
        staying = rows.leaving(ended)
        if staying is not None:
            ended, mask, new, positions = ended[staying], mask[staying], new[staying], positions[staying]
    return [(ids, GreedyTrace(tuple(steps))) for ids, steps in zip(generated, traces, strict=True)]


def _top_candidates(logits: Tensor, chosen: Tensor, count: int) -> list[tuple[Candidate, ...]]:
    """The likeliest tokens, best first, before them the ``chosen`` one: others may tie with it, in bfloat16 often."""
    log_probabilities = logits.log_softmax(-1)
    first = torch.cat([chosen[:, None], log_probabilities.topk(min(count, logits.shape[-1])).indices], dim=-1)
    rows = zip(first.tolist(), log_probabilities.gather(-1, first).tolist(), strict=True)
    return [_distinct(tokens, chances)[:count] for tokens, chances in rows]


def _distinct(tokens: Sequence[int], chances: Sequence[float]) -> tuple[Candidate, ...]:
    """The candidates; the chosen one, which stands twice, at its first place."""
    return tuple(Candidate(token, chance) for token, chance in dict(zip(tokens, chances, strict=True)).items())
