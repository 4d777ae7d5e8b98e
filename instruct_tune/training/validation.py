"""The loss on rows that nobody trains on, measured while a run is at work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from ..batching.packing import Pack, supervised_count, supervised_loss
from ..errors import Stopped
from ..models.base_model import LoadedModel
from ..tokenization.encode import TokenizedExample
from .interrupt import interruptible
from .micro_batches import MicroBatches
from .types import TrainingListener


class HeldOut:
    """Measures with the model's active adapter, dropout off, in the run's own passes.

    ``separable``: whether the head may be taken off; ``autocast`` gives the precision that the run computes in.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        passes: MicroBatches,
        separable: bool,
        autocast: Callable[[], AbstractContextManager[Any]],
        watcher: TrainingListener,
    ):
        self.loaded, self.passes, self.separable, self.autocast = loaded, passes, separable, autocast
        self.watcher = watcher

    def loss(self, rows: Sequence[TokenizedExample]) -> float:
        """Mean loss in nats a supervised token; not finite where the model has diverged. Leaves the model in training.

        Raises Stopped where the watcher wants a stop, MemoryLimitError where single rows are too large.
        """
        self.watcher.phase("evaluating")
        self.loaded.model.eval()
        try:
            with interruptible(self.loaded.base, self.watcher.stopping):
                total = self.passes.within_memory(rows, self._summed)
        finally:
            self.loaded.model.train()
        return total / supervised_count(rows)

    @torch.no_grad()
    def _summed(self, packs: list[Pack]) -> float:
        losses = [torch.zeros((), device=self.loaded.device)]
        with self.autocast():
            for done, pack in enumerate(packs):
                self.watcher.part(done, len(packs))
                if self.watcher.stopping():
                    raise Stopped
                losses.append(supervised_loss(self.loaded.model, pack, self.separable))
        return math.fsum(torch.stack(losses).tolist())
