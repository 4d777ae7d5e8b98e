"""CPU attention: per row in a packed pass, and without repeating shared keys and values in grouped-query attention.

PyTorch's scaled-dot-product kernels compute the whole square of a packed pass and mask the parts between rows. Six rows
of 85 tokens need only a sixth of the square of 510. If several heads share keys and values, transformers repeats them
for each head; here the queries of those heads are concatenated instead. On a GPU the library's kernels are kept.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

BY_ROWS = "sdpa_by_rows"
"""The name in transformers' registry of attention functions."""


def attend_by_rows(model: PreTrainedModel, device: str) -> None:
    """Let ``model`` compute attention per row if a pass has ``cu_seq_lens_q``; other passes do not change.

    Applies only if it uses PyTorch's kernels (sdpa) on a CPU (``device``) and passes keyword arguments to its layers.
    """
    plain = model.config._attn_implementation == "sdpa" and device == "cpu"
    if plain and model._supports_attention_backend:
        model.set_attn_implementation(BY_ROWS)


def wants_row_starts(config: PretrainedConfig) -> bool:
    """Whether a model with this configuration uses ``cu_seq_lens_q``."""
    return config._attn_implementation == BY_ROWS


def row_starts(position_ids: Tensor) -> Tensor:
    """``cu_seq_lens_q`` of a packed pass [1, T]: the start of each row, and the end of the last."""
    starts = (position_ids[0] == 0).nonzero().squeeze(1)
    return torch.cat([starts, starts.new_tensor([position_ids.shape[1]])])


def _by_rows(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """[1, heads, T, width] each → [1, T, heads, width]; positions attend within their row only."""
    if cu_seq_lens_q is None or len(cu_seq_lens_q) == 2:
        one_mask = attention_mask is not None and attention_mask.shape[1] == 1
        if one_mask and query.shape[1] > key.shape[1] and kwargs.keys().isdisjoint(_SPECIAL):
            return _grouped_attention(
                query, key, value, attention_mask, kwargs.get("dropout", 0.0), kwargs.get("scaling")
            )
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    bounds = cu_seq_lens_q.tolist()
    lengths = [end - start for start, end in pairwise(bounds)]
    rows = []
    # Not a slice for each row: the gradient of a slice is a whole tensor, with zeros everywhere else.
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    for start, length, (q, k, v) in zip(bounds, lengths, parts, strict=False):
        row = slice(start, start + length)
        mask = None if attention_mask is None else _unless_causal(attention_mask[..., row, row])
        rows.append(sdpa_attention_forward(module, q, k, v, mask, **kwargs)[0])
    return torch.cat(rows, dim=1), None


_SPECIAL = {"position_bias", "softcap", "cache"}
"""Unusual arguments of some models, which only the library's function supports."""


def _grouped_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float, scaling: float | None
) -> tuple[Tensor, None]:
    """Grouped-query attention with a mask [rows, 1, T, tokens] shared by all heads.

    Each group of heads that share keys and values becomes one head with as many times the queries.
    """
    rows, heads, tokens, width = query.shape
    shared = key.shape[1]
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, shared, -1, width),
        key,
        value,
        attn_mask=mask.repeat(1, 1, heads // shared, 1),
        dropout_p=dropout,
        scale=scaling,
    )
    return output.reshape(rows, heads, tokens, -1).transpose(1, 2).contiguous(), None


def _unless_causal(mask: Tensor) -> Tensor | None:
    """A row's mask, or None if it is only causal, which the kernels compute faster without a mask.

    It is not only causal if a sliding window is shorter than the row.
    """
    causal = torch.ones_like(mask, dtype=torch.bool).tril()
    return None if mask.dtype == torch.bool and torch.equal(mask, causal) else mask


AttentionInterface.register(BY_ROWS, _by_rows)
AttentionMaskInterface.register(BY_ROWS, sdpa_mask)
