"""Rows → forward passes that fit into memory: smaller ones where it ran out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from . import memory
from .batching import TOKENS_PER_PASS, Pack, pack_rows
from .errors import MemoryLimitError
from .model import LoadedModel
from .tokenization import TokenizedExample

T = TypeVar("T")


class Passes:
    """How many tokens one forward pass gets, for the length of a run.

    ``halved`` is told the new number when memory has run out.
    """

    def __init__(self, loaded: LoadedModel, halved: Callable[[int], None]):
        self.loaded, self.halved = loaded, halved
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

        Raises MemoryLimitError where each row has a pass of its own already.
        """
        while True:
            packs = self.pack(rows)
            try:
                return work(packs)
            except (RuntimeError, MemoryError) as error:
                if not memory.ran_out(error):
                    raise
            # Outside the except clause, which holds the frames of what failed, and they the memory.
            if len(packs) == len(rows):
                raise too_small(rows)
            undo()
            memory.give_back()
            self.tokens //= 2
            self.halved(self.tokens)


def too_small(rows: Sequence[TokenizedExample]) -> MemoryLimitError:
    """What to change when not even single rows can be computed."""
    longest = max(len(row.input_ids) for row in rows)
    return MemoryLimitError(
        f"The memory is too small for this run, even with one row of {longest} tokens at a time: "
        "lower train.max_length or lora.r, choose a smaller model, or end other programs."
    )
