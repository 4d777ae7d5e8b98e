"""Show how one optimizer step's rows are grouped into forward passes.

The passes come from ``batching``, as in training, and the view is read from their tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..batching.packing import Pack, pack_rows
from ..batching.packing_mode import Packing
from ..batching.packing_trial import detect_packing
from ..kernels.attention import attend_by_rows, wants_row_starts
from ..models.base_model import best_device
from ..pretrained.read_model import empty_model
from ..tokenization.encode import IGNORE, TokenizedExample, token_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_A_BORDER = 4
"""Tokens shown at each end of a row."""


@dataclass(frozen=True)
class EndToken:
    """A token at a row's beginning or end: its text, its position in the row (from 0), and whether it carries loss."""

    text: str
    position: int
    loss: bool


@dataclass(frozen=True)
class Segment:
    """One row's place in a pass. ``row``: its index among the training rows, from 0. ``start``: its offset in its lane.

    ``loss`` has one value per token. ``first`` and ``last`` are the tokens at the two ends.
    """

    row: int
    start: int
    positions: tuple[int, ...]
    loss: tuple[bool, ...]
    first: tuple[EndToken, ...]
    last: tuple[EndToken, ...]

    @property
    def length(self) -> int:
        return len(self.loss)

    @property
    def supervised(self) -> int:
        """Number of tokens that carry loss."""
        return sum(self.loss)


@dataclass(frozen=True)
class Pass:
    """One forward pass. A lane is one row of its tensors, ``width`` positions long; padding is outside all segments."""

    lanes: tuple[tuple[Segment, ...], ...]
    width: int

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(segment for lane in self.lanes for segment in lane)

    @property
    def tokens(self) -> int:
        return sum(segment.length for segment in self.segments)

    @property
    def padding(self) -> int:
        return self.width * len(self.lanes) - self.tokens


@dataclass(frozen=True)
class MicroBatch:
    """The rows of one micro-batch, as forward passes."""

    passes: tuple[Pass, ...]

    @property
    def tokens(self) -> int:
        return sum(each.tokens for each in self.passes)

    @property
    def padded(self) -> int:
        """Positions in a batch of these rows, each padded to the longest."""
        segments = [segment for each in self.passes for segment in each.segments]
        return len(segments) * max(segment.length for segment in segments)


@dataclass(frozen=True)
class StepView:
    """One optimizer step of ``steps``; steps and epochs count from 1.

    ``by_rows``: attention is computed within each row's square only. ``budget``: the most tokens per pass.
    """

    step: int
    steps: int
    epoch: int
    packing: Packing
    by_rows: bool
    budget: int
    batches: tuple[MicroBatch, ...]

    @property
    def passes(self) -> tuple[Pass, ...]:
        return tuple(each for batch in self.batches for each in batch.passes)

    @property
    def tokens(self) -> int:
        return sum(batch.tokens for batch in self.batches)

    @property
    def supervised(self) -> int:
        return sum(segment.supervised for each in self.passes for segment in each.segments)

    @property
    def padding(self) -> int:
        return sum(each.padding for each in self.passes)

    @property
    def padding_of_a_padded_batch(self) -> int:
        """Padding positions if each micro-batch were padded to its longest row."""
        return sum(batch.padded - batch.tokens for batch in self.batches)


def packing_of(folder: Path) -> tuple[Packing, bool]:
    """Return how training on the model in ``folder`` keeps rows apart, and whether attention runs row by row.

    Both come from a trial that draws random weights, so call this on the job queue's thread.
    """
    shape = empty_model(folder.name, folder)
    attend_by_rows(shape, best_device())
    packing = detect_packing(shape.config).packing
    return packing, wants_row_starts(shape.config) and packing in (Packing.POSITIONS, Packing.MASK)


def micro_batch(
    rows: Sequence[tuple[int, TokenizedExample]], packing: Packing, tokenizer: PreTrainedTokenizerBase, budget: int
) -> MicroBatch:
    """Return the passes that training makes of ``rows``: (index among the training rows, row)."""
    packs = pack_rows([row for _, row in rows], packing, tokenizer.pad_token_id or tokenizer.eos_token_id, budget)
    numbers = _RowIndex(rows)
    return MicroBatch(tuple(_pass(pack, numbers, tokenizer) for pack in packs))


class _RowIndex:
    """Maps ids of a segment back to a row's index, each row once: padded batches have another order than the rows."""

    def __init__(self, rows: Sequence[tuple[int, TokenizedExample]]):
        self.left = list(rows)

    def take(self, ids: tuple[int, ...]) -> int:
        at = next(at for at, (_, row) in enumerate(self.left) if row.input_ids == ids)
        return self.left.pop(at)[0]


def _pass(pack: Pack, numbers: _RowIndex, tokenizer: PreTrainedTokenizerBase) -> Pass:
    lanes = []
    for lane, ids in enumerate(pack["input_ids"].tolist()):
        labels = pack["labels"][lane].tolist()
        if "position_ids" in pack:
            positions = pack["position_ids"][lane].tolist()
            starts = [at for at, position in enumerate(positions) if position == 0]
        else:
            # Padded: the model counts the positions itself, one row a lane.
            positions, starts = list(range(int(pack["attention_mask"][lane].sum()))), [0]
        segments = []
        for start, end in zip(starts, [*starts[1:], len(positions)], strict=True):
            span = slice(start, end)
            number = numbers.take(tuple(ids[span]))
            segments.append(_segment(number, start, ids[span], positions[span], labels[span], tokenizer))
        lanes.append(tuple(segments))
    return Pass(tuple(lanes), pack["input_ids"].shape[1])


def _segment(
    row: int,
    start: int,
    ids: Sequence[int],
    positions: Sequence[int],
    labels: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
) -> Segment:
    loss = tuple(label != IGNORE for label in labels)
    ends = []
    for end in (slice(0, AT_A_BORDER), slice(max(AT_A_BORDER, len(ids) - AT_A_BORDER), len(ids))):
        pieces = token_pieces(tokenizer, ids[end], continuing=bool(end.start))
        ends.append(tuple(EndToken(*each) for each in zip(pieces, positions[end], loss[end], strict=True)))
    return Segment(row, start, tuple(positions), loss, *ends)
