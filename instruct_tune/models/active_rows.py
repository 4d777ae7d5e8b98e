"""The rows of a batch whose answers have not ended: who answers them, and what was read of them so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

KEPT_SHARE = 7 / 8
"""Ended rows are taken out when this share of the batch or less is still at work: taking out copies the cache."""


@dataclass(frozen=True)
class Prompts:
    """Prompts padded on the left: ``input_ids`` and ``attention_mask``, each [rows, longest].

    ``speakers``: who answers each row, where a batch mixes adapters; None where the model speaks with one voice.
    """

    input_ids: Tensor
    attention_mask: Tensor
    speakers: tuple[str, ...] | None = None

    @property
    def positions(self) -> Tensor:
        """[rows, longest], as transformers' ``generate`` counts: padding does not, and shares the first one's."""
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)


class ActiveRows:
    """Runs the model on the rows that are left. ``numbers``: which rows of the batch those are."""

    def __init__(self, model: PreTrainedModel, prompts: Prompts, cache: DynamicCache):
        self._model, self._speakers, self._cache = model, prompts.speakers, cache
        self.numbers = torch.arange(len(prompts.input_ids), device=prompts.input_ids.device)

    def read(
        self, input_ids: Tensor, attention_mask: Tensor | dict[str, Tensor], positions: Tensor, last: int
    ) -> Tensor:
        """Read [rows, new] tokens more; logits [rows, last, vocabulary] after the last of them, in float32."""
        mixed = (
            {} if self._speakers is None else {"adapter_names": [self._speakers[row] for row in self.numbers.tolist()]}
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
        """Take the rows out that have ``ended`` [rows], where that pays; the places of those that stay, else None."""
        staying = (~ended).nonzero().squeeze(1)
        if len(staying) > KEPT_SHARE * len(self.numbers):
            return None
        self._cache.batch_select_indices(staying)
        self.numbers = self.numbers[staying]
        return staying
