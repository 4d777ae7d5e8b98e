"""One decoded answer, and how it is read out of the ids that a model said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..tokenization.continuation import decode_continuation
from .traces import BeamTrace, GreedyTrace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """``tokens`` that were decoded for ``text``, the end not counted.

    ``ended``: it ended by itself (with EOS) or at a stop text, not at the token limit.
    ``trace``: what was looked at on the way, where it was asked for.
    """

    text: str
    tokens: int
    ended: bool
    trace: GreedyTrace | BeamTrace | None = None


@dataclass(frozen=True)
class Reader:
    """Ids to answers. An answer ends before the first of the ids ``ends``, and before the first text of ``stop``."""

    tokenizer: PreTrainedTokenizerBase
    ends: tuple[int, ...]
    stop: tuple[str, ...] = ()

    def answer(self, ids: Sequence[int], trace: GreedyTrace | BeamTrace | None = None) -> Answer:
        """What was said."""
        end = next((at for at, token in enumerate(ids) if token in self.ends), None)
        kept = list(ids if end is None else ids[:end])
        text = self._text(kept)
        cut = min((at for stop in self.stop if (at := text.find(stop)) >= 0), default=None)
        return Answer(text[:cut], len(kept), end is not None or cut is not None, trace)

    def stopped(self, ids: Sequence[int]) -> bool:
        """Whether a stop text was said, so that nothing which follows counts."""
        text = self._text(list(ids)) if self.stop else ""
        return any(stop in text for stop in self.stop)

    def _text(self, ids: list[int]) -> str:
        return decode_continuation(self.tokenizer, ids)
