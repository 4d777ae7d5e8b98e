"""Keys and values of what was read and said so far, kept without copying them at every token.

The library's cache joins old and new into fresh tensors at each token, and copies everything again
when beams change places: for long answers that is more work than the model's own. Here a layer
grows in steps, the new token is written where there is room, and of beams only those that change
move, and of them only what lies after their common prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PretrainedConfig

GROWTH = 64
"""Tokens that a layer makes room for at a time."""


def growing_cache(config: PretrainedConfig, prompt: int) -> DynamicCache:
    """A cache for answers to prompts of that many tokens, padding included.

    Layers of other kinds (sliding windows) stay the library's.
    """
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer(prompt) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):
    """A layer's keys and values [rows, heads, tokens, width] with room for more behind them.

    ``prompt``: how many tokens are the same for all beams of a row, so that beams may change places without them.
    """

    def __init__(self, prompt: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.prompt = prompt
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

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i becomes what row ``beam_idx[i]`` was; both belong to one prompt."""
        moved = (beam_idx != torch.arange(len(beam_idx), device=beam_idx.device)).nonzero().squeeze(1)
        if self.get_seq_length() > self.prompt and len(moved):
            source = beam_idx[moved]
            for tensor in (self.keys, self.values):
                said = tensor[:, :, self.prompt :]
                said[moved] = said[source]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        length = self.get_seq_length()
        if length and self.room_keys is not None and self.room_values is not None:
            self.room_keys, self.room_values = self.room_keys[indices], self.room_values[indices]
            self.keys, self.values = self.room_keys[:, :, :length], self.room_values[:, :, :length]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row as many times, next to each other."""
        length = self.get_seq_length()
        if length and self.room_keys is not None and self.room_values is not None:
            self.room_keys = self.room_keys.repeat_interleave(repeats, dim=0)
            self.room_values = self.room_values.repeat_interleave(repeats, dim=0)
            self.keys, self.values = self.room_keys[:, :, :length], self.room_values[:, :, :length]


def _appended(room: Tensor | None, new: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
    """(the room, what it holds) after ``new`` was written behind the first ``before`` tokens."""
    rows, heads, _, width = new.shape
    if room is None or after > room.shape[2]:
        larger = new.new_empty((rows, heads, after + GROWTH, width))
        if room is not None:
            larger[:, :, :before] = room[:, :, :before]
        room = larger
    room[:, :, before:after] = new
    return room, room[:, :, :after]
