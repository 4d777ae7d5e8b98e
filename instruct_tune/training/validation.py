"""The loss on held-out rows, measured while a run trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from ..batching.loss import supervised_count, supervised_loss
from ..batching.packing import Pack
from ..errors import Stopped
from ..models.base_model import LoadedModel
from ..tokenization.encode import TokenizedExample
from .interruptible import interruptible
from .micro_batches import MicroBatches
from .types import TrainingListener


class HeldOut:
    """Measures with the model's active adapter, without dropout, in passes of the run's size.

    ``separable``: whether the LM head can be detached; ``autocast``: a context with the run's precision.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        passes: MicroBatches,
        separable: bool,
        autocast: Callable[[], AbstractContextManager[Any]],
        listener: TrainingListener,
    ):
        self.loaded, self.passes, self.separable, self.autocast = loaded, passes, separable, autocast
        self.listener = listener

    def loss(self, rows: Sequence[TokenizedExample]) -> float:
        """Mean loss in nats a supervised token; not finite where the model has diverged.

        Afterwards the model is in training mode. Raises Stopped where the listener requests a stop,
        MemoryLimitError where single rows are too large.
        """
        self.listener.phase("evaluating")
        self.loaded.model.eval()
        try:
            with interruptible(self.loaded.base, self.listener.stopping):
                total = self.passes.within_memory(rows, self._total_loss)
        finally:
            self.loaded.model.train()
        return total / supervised_count(rows)

    @torch.no_grad()
    def _total_loss(self, packs: list[Pack]) -> float:
        losses = [torch.zeros((), device=self.loaded.device)]
        with self.autocast():
            for done, pack in enumerate(packs):
                self.listener.part(done, len(packs))
                if self.listener.stopping():
                    raise Stopped
                losses.append(supervised_loss(self.loaded.model, pack, self.separable))
        return math.fsum(torch.stack(losses).tolist())
