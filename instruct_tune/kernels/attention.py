"""Attention on a CPU: row by row in a packed pass, and without copies of keys and values for heads that share them.

The scaled-dot-product kernels compute the whole square of a pass and mask what lies between rows.
Six rows of 85 tokens are a sixth of the square of 510. Where several heads share keys and values, the
library repeats those for each head; here the heads' queries are laid side by side instead. On a GPU
the library's own kernels stay.
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
    """Let ``model`` attend row by row where a pass says where its rows begin; otherwise nothing changes.

    Only where it uses PyTorch's own kernels on a CPU (``device``), and hands keyword arguments down to its layers.
    """
    plain = model.config._attn_implementation == "sdpa" and device == "cpu"
    if plain and model._supports_attention_backend:
        model.set_attn_implementation(BY_ROWS)


def wants_row_starts(config: PretrainedConfig) -> bool:
    """Whether a model of this configuration makes use of ``cu_seq_lens_q``."""
    return config._attn_implementation == BY_ROWS


def row_starts(position_ids: Tensor) -> Tensor:
    """Where the rows of a packed pass [1, T] begin, and where the last one ends: ``cu_seq_lens_q``."""
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
    """[1, heads, T, width] each → [1, T, heads, width]; positions of one row see each other only."""
    if cu_seq_lens_q is None or len(cu_seq_lens_q) == 2:
        one_mask = attention_mask is not None and attention_mask.shape[1] == 1
        if one_mask and query.shape[1] > key.shape[1] and kwargs.keys().isdisjoint(_SPECIAL):
            return _by_groups(query, key, value, attention_mask, kwargs.get("dropout", 0.0), kwargs.get("scaling"))
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    bounds = cu_seq_lens_q.tolist()
    rows = []
    for start, end in pairwise(bounds):
        row = slice(start, end)
        mask = None if attention_mask is None else _needed(attention_mask[..., row, row])
        q, k, v = (tensor[:, :, row] for tensor in (query, key, value))
        rows.append(sdpa_attention_forward(module, q, k, v, mask, **kwargs)[0])
    return torch.cat(rows, dim=1), None


_SPECIAL = {"position_bias", "softcap", "cache"}
"""What a model may ask of attention beside the usual, which the library has to answer."""


def _by_groups(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float, scaling: float | None
) -> tuple[Tensor, None]:
    """The same for heads in groups that share keys and values, and a mask [rows, 1, T, tokens] that all share.

    A group becomes one head with as many times the queries.
    """
    rows, heads, tokens, width = query.shape
    shared = key.shape[1]
    found = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, shared, -1, width),
        key,
        value,
        attn_mask=mask.repeat(1, 1, heads // shared, 1),
        dropout_p=dropout,
        scale=scaling,
    )
    return found.reshape(rows, heads, tokens, -1).transpose(1, 2).contiguous(), None


def _needed(mask: Tensor) -> Tensor | None:
    """A row's own mask, unless it says no more than "not later", which the kernels do faster without one.

    It says more where a sliding window is shorter than the row.
    """
    causal = torch.ones_like(mask, dtype=torch.bool).tril()
    return None if mask.dtype == torch.bool and torch.equal(mask, causal) else mask


AttentionInterface.register(BY_ROWS, _by_rows)
AttentionMaskInterface.register(BY_ROWS, sdpa_mask)
