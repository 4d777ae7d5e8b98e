"""The rows of a batch whose answers have not ended, with their adapters and their key-value cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

KEPT_SHARE = 7 / 8
"""Ended rows are removed when at most this share of the batch is active, since removal copies the cache."""


@dataclass(frozen=True)
class Prompts:
    """Left-padded prompts: ``input_ids`` and ``attention_mask``, each [rows, longest].

    ``adapter_names``: the adapter name for each row, if a batch mixes adapters; None if one adapter answers all rows.
    """

    input_ids: Tensor
    attention_mask: Tensor
    adapter_names: tuple[str, ...] | None = None

    @property
    def positions(self) -> Tensor:
        """[rows, longest], as transformers' ``generate`` counts: padding gets position 0, as the first token does."""
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)


class ActiveRows:
    """Runs the model on the remaining rows. ``numbers``: their indices in the batch."""

    def __init__(self, model: PreTrainedModel, prompts: Prompts, cache: DynamicCache):
        self._model, self._adapter_names, self._cache = model, prompts.adapter_names, cache
        self.numbers = torch.arange(len(prompts.input_ids), device=prompts.input_ids.device)

    def read(
        self, input_ids: Tensor, attention_mask: Tensor | dict[str, Tensor], positions: Tensor, last: int
    ) -> Tensor:
        """Run the model on [rows, new] further tokens; return float32 logits [rows, last, vocabulary] at the end."""
        mixed = (
            {}
            if self._adapter_names is None
            else {"adapter_names": [self._adapter_names[row] for row in self.numbers.tolist()]}
        )
        return self._model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=last,
            **mixed,
        ).logits.float()

    def leaving(self, ended: Tensor) -> Tensor | None:
        """Remove the rows that have ``ended`` [rows], if that pays off, and return the others' indices; else None."""
        remaining = (~ended).nonzero().squeeze(1)
        if len(remaining) > KEPT_SHARE * len(self.numbers):
            return None
        self._cache.batch_select_indices(remaining)
        self.numbers = self.numbers[remaining]
        return remaining
