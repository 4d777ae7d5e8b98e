"""Several beams as one sequence: the mask that selects each beam's own tokens behind the prompt."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Tree:
    """Masks for the beams of some rows, step by step.

    ``attention_mask`` [rows, prompt]: 0 for padding. ``windows``: the attention window of each kind of layer, in
    tokens (``kv_cache.windows``).
    """

    def __init__(self, attention_mask: Tensor, beams: int, windows: Mapping[str, int | None]):
        self._windows = windows
        self._own = torch.eye(beams, dtype=torch.bool, device=attention_mask.device)
        self._seen = attention_mask.bool()[:, None].expand(-1, beams, -1)
        """[rows, beams, tokens]: the tokens in each beam's past."""
        self._places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        """[tokens]: how many tokens, padding included, precede each one in its own beam."""

    def branch(self, parents: Tensor) -> None:
        """Append one token to each beam: beam i now continues the former beam ``parents[:, i]``."""
        past = self._seen.gather(1, parents[:, :, None].expand(-1, -1, self._seen.shape[2]))
        self._seen = torch.cat([past, self._own.expand(len(past), -1, -1)], dim=2)
        self._places = torch.cat([self._places, (self._places[-1:] + 1).expand(len(self._own))])

    def mask(self) -> Tensor | dict[str, Tensor]:
        """[rows, 1, beams, tokens], True where a beam's newest token may attend.

        A dict by kind of layer where there are several kinds.
        """
        masks = {kind: self._within(window)[:, None] for kind, window in self._windows.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _within(self, window: int | None) -> Tensor:
        return self._seen if window is None else self._seen & (self._places > self._places[-1] - window)

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        self._seen = self._seen[rows]
