"""Greedy decoding where a row leaves the batch when its answer has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .cache import growing_cache
from .errors import Stopped

if TYPE_CHECKING:
    from .model import LoadedModel

KEPT_SHARE = 7 / 8
"""Ended rows are taken out when this share of the batch or less is still at work: taking out copies the cache."""


@torch.no_grad()
def decode(
    loaded: LoadedModel,
    input_ids: Tensor,
    attention_mask: Tensor,
    new_tokens: int,
    ends: Sequence[int],
    on_step: Callable[[list[list[int]]], None],
    stopping: Callable[[], bool],
) -> list[list[int]]:
    """The most likely token, again and again, until one of ``ends`` (kept) or ``new_tokens``.

    Prompts are padded on the left; ``on_step`` sees the ids of all rows after each token. Raises Stopped.
    """
    said: list[list[int]] = [[] for _ in input_ids]
    alive = torch.arange(len(input_ids), device=input_ids.device)
    end_ids = torch.tensor(ends, device=input_ids.device)
    cache = growing_cache(loaded.base.config, input_ids.shape[1])
    # The position that generate gives: padding does not count, and shares the first one's.
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    for _ in range(new_tokens):
        logits = loaded.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        token = logits[:, -1].float().argmax(-1)
        for row, word, over in zip(alive.tolist(), token.tolist(), ended.tolist(), strict=True):
            if not over:
                said[row].append(word)
        ended |= torch.isin(token, end_ids)
        if stopping():
            raise Stopped
        on_step(said)
        if ended.all():
            break
        attention_mask = torch.cat([attention_mask, attention_mask.new_ones((len(alive), 1))], dim=1)
        input_ids, positions = token[:, None], positions[:, -1:] + 1
        working = (~ended).nonzero().squeeze(1)
        if len(working) <= KEPT_SHARE * len(alive):
            cache.batch_select_indices(working)
            alive, ended, attention_mask = alive[working], ended[working], attention_mask[working]
            input_ids, positions = input_ids[working], positions[working]
    return said
