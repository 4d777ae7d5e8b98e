"""The texts of several beams as one sequence: which of the tokens behind a prompt are each beam's own past."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Tree:
    """Masks for the beams of some rows, step by step.

    ``attention_mask`` [rows, prompt] says which of the prompts' tokens are no padding; ``windows`` how far
    back each kind of layer sees (``cache.windows``).
    """

    def __init__(self, attention_mask: Tensor, beams: int, windows: Mapping[str, int | None]):
        self._windows = windows
        self._own = torch.eye(beams, dtype=torch.bool, device=attention_mask.device)
        self._seen = attention_mask.bool()[:, None].expand(-1, beams, -1)
        """[rows, beams, tokens]: what each beam has in its past."""
        self._places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        """[tokens]: how many tokens, padding included, come before each one in its own beam."""

    def branch(self, parents: Tensor) -> None:
        """One token more for each beam: beam i now goes on from what beam ``parents[:, i]`` was."""
        past = self._seen.gather(1, parents[:, :, None].expand(-1, -1, self._seen.shape[2]))
        self._seen = torch.cat([past, self._own.expand(len(past), -1, -1)], dim=2)
        self._places = torch.cat([self._places, (self._places[-1:] + 1).expand(len(self._own))])

    def mask(self) -> Tensor | dict[str, Tensor]:
        """[rows, 1, beams, tokens], True where a beam's newest token may look.

        By kind of layer where there are several.
        """
        masks = {kind: self._within(window)[:, None] for kind, window in self._windows.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _within(self, window: int | None) -> Tensor:
        return self._seen if window is None else self._seen & (self._places > self._places[-1] - window)

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        self._seen = self._seen[rows]
