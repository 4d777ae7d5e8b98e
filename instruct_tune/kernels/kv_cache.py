"""Keys and values of what was read and said so far, kept without copying them at every token.

The library's cache joins old and new into fresh tensors at each token: for long answers that is more
work than the model's own. Here a layer grows in steps, and the new token is written where there is room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, get_layer_types_and_kwargs

if TYPE_CHECKING:
    from transformers import PretrainedConfig

GROWTH = 64
"""Tokens that a layer makes room for at a time, at the least."""


def growing_cache(config: PretrainedConfig) -> DynamicCache:
    """A cache for a model of this configuration. Layers of other kinds (sliding windows) stay the library's."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def whole_cache(config: PretrainedConfig) -> DynamicCache:
    """The same that forgets nothing: layers with a sliding window keep what has left it, and a mask has to hide it."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


def windows(config: PretrainedConfig) -> dict[str, int | None]:
    """How far back each kind of layer sees, its own token counted; None: to the start.

    By the library's name of the kind.
    """
    kinds, details = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
    return {kind: detail.get("sliding_window") for kind, detail in zip(kinds, details, strict=True)}


class GrowingLayer(DynamicLayer):
    """A layer's keys and values [rows, heads, tokens, width] with room for more behind them."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.room_keys: Tensor | None = None
        self.room_values: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append, and return all there is so far."""
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


def _appended(room: Tensor | None, new: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
    """(the room, what it holds) after ``new`` was written behind the first ``before`` tokens."""
    rows, heads, _, width = new.shape
    if room is None or after > room.shape[2]:
        larger = new.new_empty((rows, heads, after + max(GROWTH, before // 2), width))
        if room is not None:
            larger[:, :, :before] = room[:, :, :before]
        room = larger
    room[:, :, before:after] = new
    return room, room[:, :, :after]
