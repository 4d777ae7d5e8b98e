"""The logits of base or of an adapter on one row, at chosen positions, a few positions at a time.

The logits of all positions of a long row may not fit into memory. Gradients and random states stay unchanged, so
that a run that continues to train afterwards is not affected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..batching.loss import keeps_chosen_logits
from ..kernels.lm_head import LOGITS_AT_ONCE, body_and_head
from ..models.lora import answering_as
from ..tokenization.vocabulary import check_rows

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel


def in_parts(loaded: LoadedModel, start: int, end: int) -> tuple[Tensor, ...]:
    """The positions from ``start`` to ``end`` (exclusive), in parts whose logits fit into memory together."""
    at_once = max(1, LOGITS_AT_ONCE // loaded.vocabulary)
    return torch.arange(start, end, device=loaded.device).split(at_once)


def read_row(loaded: LoadedModel, adapter_name: str, row: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """A function: n positions → the next-token logits [n, vocabulary] of the adapter at these positions of the row.

    ``adapter_name``: ``lora.BASE`` or an adapter's name. Raises ModelError where the row has tokens that the model does
    not know.
    """
    check_rows(loaded.tokenizer, loaded.vocabulary, [row])
    ids = torch.tensor([row], device=loaded.device)
    if not loaded.separable:
        return lambda places: _by_own_forward(loaded, adapter_name, ids, places)
    body, head = body_and_head(loaded.model)
    with answering_as(loaded, [adapter_name]), torch.no_grad():
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state[0]
    return lambda places: _through(head, hidden[places])


@torch.no_grad()
def _through(head: torch.nn.Linear, hidden: Tensor) -> Tensor:
    return head(hidden).float()


@torch.no_grad()
def _by_own_forward(loaded: LoadedModel, adapter_name: str, ids: Tensor, places: Tensor) -> Tensor:
    """For a model whose LM head cannot be detached: the model reads the row again for each part."""
    model = loaded.model
    with answering_as(loaded, [adapter_name]):
        if keeps_chosen_logits(model):
            return model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0].float()
        return model(input_ids=ids, use_cache=False).logits[0, places].float()
