"""KV cache that grows in steps instead of copying all keys and values at every token.

transformers' cache concatenates old and new into fresh tensors at each token, which for long answers costs more than
the model itself. Here a layer allocates spare capacity, and each new token is written into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, get_layer_types_and_kwargs

if TYPE_CHECKING:
    from transformers import PretrainedConfig

GROWTH = 64
"""Minimum spare tokens per allocation of a layer."""


def growing_cache(config: PretrainedConfig) -> DynamicCache:
    """A cache for a model of this configuration. Layers of other kinds (sliding window) are unchanged."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def whole_cache(config: PretrainedConfig) -> DynamicCache:
    """A ``growing_cache`` that drops nothing: sliding-window layers keep all tokens, so a mask must hide old ones."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


def windows(config: PretrainedConfig) -> dict[str, int | None]:
    """Window in tokens of each kind of layer, its own token included; None: unlimited.

    Keys are transformers' names of the layer kinds.
    """
    kinds, details = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
    return {kind: detail.get("sliding_window") for kind, detail in zip(kinds, details, strict=True)}


class GrowingLayer(DynamicLayer):
    """A layer's keys and values [rows, heads, tokens, width] with spare capacity for more tokens."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.room_keys: Tensor | None = None
        self.room_values: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values; returns all of them so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        self.room_keys, self.keys = _appended(self.room_keys, key_states, before, after)
        self.room_values, self.values = _appended(self.room_values, value_states, before, after)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        length = self.get_seq_length()
        if length and self.room_keys is not None and self.room_values is not None:
            self.room_keys, self.room_values = self.room_keys[indices], self.room_values[indices]
            self.keys, self.values = self.room_keys[:, :, :length], self.room_values[:, :, :length]


def _appended(buffer: Tensor | None, new: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
    """Write ``new`` after the first ``before`` tokens, growing if needed; returns (buffer, its used part)."""
    rows, heads, _, width = new.shape
    if buffer is None or after > buffer.shape[2]:
        larger = new.new_empty((rows, heads, after + max(GROWTH, before // 2), width))
        if buffer is not None:
            larger[:, :, :before] = buffer[:, :, :before]
        buffer = larger
    buffer[:, :, before:after] = new
    return buffer, buffer[:, :, :after]
