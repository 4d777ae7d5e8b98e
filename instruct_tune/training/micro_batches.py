"""Rows → forward passes that fit into memory: where memory runs out, smaller passes, then activation checkpointing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..batching.packing import TOKENS_PER_PASS, Pack, pack_rows
from ..errors import MemoryLimitError
from ..models.base_model import LoadedModel
from ..tokenization.encode import TokenizedExample
from ..util import memory
from . import activation_checkpointing

T = TypeVar("T")


class MicroBatches:
    """The number of tokens in one forward pass, which a run lowers where memory runs out.

    Args:
        loaded: The model; its device decides the initial number of tokens.
        halved: Called with the new number of tokens, after memory ran out.
        recomputing: Called after memory ran out with single rows, so that activations are recomputed.
    """

    def __init__(self, loaded: LoadedModel, halved: Callable[[int], None], recomputing: Callable[[], None]):
        self.loaded, self.halved, self.recomputing = loaded, halved, recomputing
        self.tokens = TOKENS_PER_PASS[loaded.device.type]

    def pack(self, rows: Sequence[TokenizedExample]) -> list[Pack]:
        """The rows as forward passes, packed or padded as architecture and device need."""
        loaded = self.loaded
        return pack_rows(rows, loaded.packing, loaded.tokenizer.pad_token_id, self.tokens, loaded.device)

    def within_memory(
        self,
        rows: Sequence[TokenizedExample],
        work: Callable[[list[Pack]], T],
        undo: Callable[[], None] = lambda: None,
    ) -> T:
        """The result of ``work`` on the rows' passes. Where memory runs out: ``undo``, then ``work`` on smaller passes.

        Where each pass already holds a single row, a training pass recomputes its activations. Raises
        MemoryLimitError where that is not enough either.
        """
        while True:
            packs = self.pack(rows)
            try:
                return work(packs)
            except (RuntimeError, MemoryError) as error:
                if not memory.ran_out(error):
                    raise
            # Outside the except clause: the exception holds the failed frames, and those hold the memory.
            single_rows = len(packs) == len(rows)
            if single_rows and not (self.loaded.model.training and self.recompute()):
                raise too_small(rows)
            undo()
            memory.give_back()
            if single_rows:
                self.recomputing()
            else:
                self.tokens //= 2
                self.halved(self.tokens)

    def recompute(self) -> bool:
        """Activation checkpointing (Chen et al. 2016): keep each layer's input, compute the rest again.

        A training pass takes about a third longer and gives the same numbers, so this begins only when memory
        runs out. False where it is active already or the architecture does not support it.
        ``model_guard.restores_model`` switches it off after the run.
        """
        base = self.loaded.base
        if activation_checkpointing.is_on(base) or not base.supports_gradient_checkpointing:
            return False
        activation_checkpointing.switch_on(base)
        return True


def too_small(rows: Sequence[TokenizedExample]) -> MemoryLimitError:
    """The error for rows that do not fit into memory one at a time: it names what to change."""
    longest = max(len(row.input_ids) for row in rows)
    return MemoryLimitError(
        f"The memory is too small for this run, even with one row of {longest} tokens at a time: "
        "lower train.max_length or lora.r, choose a smaller model, or end other programs."
    )
