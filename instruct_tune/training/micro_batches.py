"""Rows → passes that fit into memory: smaller ones where it ran out, and at last such as keep less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..batching.packing import TOKENS_PER_PASS, Pack, pack_rows
from ..errors import MemoryLimitError
from ..models.base_model import LoadedModel
from ..tokenization.encode import TokenizedExample
from ..util import memory

T = TypeVar("T")


class MicroBatches:
    """How many tokens one forward pass gets, for the length of a run.

    ``halved`` is told the new number when memory has run out, ``recomputing`` that it ran out with single rows.
    """

    def __init__(self, loaded: LoadedModel, halved: Callable[[int], None], recomputing: Callable[[], None]):
        self.loaded, self.halved, self.recomputing = loaded, halved, recomputing
        self.tokens = TOKENS_PER_PASS[loaded.device.type]

    def pack(self, rows: Sequence[TokenizedExample]) -> list[Pack]:
        """The passes, the way this architecture and device want them."""
        loaded = self.loaded
        return pack_rows(rows, loaded.packing, loaded.tokenizer.pad_token_id, self.tokens, loaded.device)

    def within_memory(
        self,
        rows: Sequence[TokenizedExample],
        work: Callable[[list[Pack]], T],
        undo: Callable[[], None] = lambda: None,
    ) -> T:
        """What ``work`` makes of the rows' passes; done again with smaller ones, after ``undo``, where memory ran out.

        Where each row has a pass of its own already, a training pass recomputes. Raises MemoryLimitError where
        that is not enough either.
        """
        while True:
            packs = self.pack(rows)
            try:
                return work(packs)
            except (RuntimeError, MemoryError) as error:
                if not memory.ran_out(error):
                    raise
            # Outside the except clause, which holds the frames of what failed, and they the memory.
            alone = len(packs) == len(rows)
            if alone and not (self.loaded.model.training and self.recompute()):
                raise too_small(rows)
            undo()
            memory.give_back()
            if alone:
                self.recomputing()
            else:
                self.tokens //= 2
                self.halved(self.tokens)

    def recompute(self) -> bool:
        """Activation checkpointing (Chen et al. 2016): keep what each layer is given, compute the rest once more.

        A training pass takes about a third longer and gives the same numbers. Not done while memory allows;
        False where it is done already or the architecture cannot. ``loan`` ends it with the run.
        """
        base = self.loaded.base
        if base.is_activation_checkpointing or not base.supports_gradient_checkpointing:
            return False
        base.activation_checkpointing_enable()
        return True


def too_small(rows: Sequence[TokenizedExample]) -> MemoryLimitError:
    """What to change when not even single rows can be computed."""
    longest = max(len(row.input_ids) for row in rows)
    return MemoryLimitError(
        f"The memory is too small for this run, even with one row of {longest} tokens at a time: "
        "lower train.max_length or lora.r, choose a smaller model, or end other programs."
    )
