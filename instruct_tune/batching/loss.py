"""The loss of a pass: cross entropy on supervised positions alone, without the logits of all others."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..kernels.attention import row_starts, wants_row_starts
from ..kernels.lm_head import body_and_head, chunked_loss
from ..tokenization.encode import IGNORE, TokenizedExample
from .packing import Pack


def supervised_loss(model: torch.nn.Module, pack: Pack, separable: bool = False) -> Tensor:
    """Return the summed cross entropy (nats) over the pack's supervised positions.

    The LM head is applied to those positions only. If it is ``separable`` (``lm_head.is_separable``) and its weights
    are frozen, it runs in chunks; else through the model's own forward (``logits_to_keep``), so that architectures
    that scale or cap their logits stay correct.
    """
    inputs, labels, kept = model_inputs(model, pack), pack["labels"], pack["kept"]
    targets = labels.flatten()[kept + 1]
    if separable:
        body, head = body_and_head(model)
        hidden = body(**inputs, use_cache=False).last_hidden_state
        return chunked_loss(head, hidden.flatten(0, 1).index_select(0, kept), targets)
    if labels.shape[0] == 1 and keeps_chosen_logits(model):
        logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits[0]
    else:
        logits = model(**inputs, use_cache=False).logits.flatten(0, 1).index_select(0, kept)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def model_inputs(model: Any, pack: Pack) -> Pack:
    """Return the model's inputs: the pack without labels and ``kept``, plus row starts if the model uses them."""
    inputs = {name: value for name, value in pack.items() if name not in ("labels", "kept")}
    if "position_ids" in pack and wants_row_starts(model.config):
        inputs["cu_seq_lens_q"] = row_starts(pack["position_ids"])
    return inputs


def keeps_chosen_logits(model: Any) -> bool:
    """Whether the model's forward can compute logits at chosen positions only (``logits_to_keep``)."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(type(base).forward).parameters


def supervised_count(rows: Sequence[TokenizedExample]) -> int:
    """Count positions that carry loss; a row's first never does, since no position predicts it."""
    return sum(label != IGNORE for row in rows for label in row.labels[1:])
