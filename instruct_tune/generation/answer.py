"""One decoded answer, and the way from generated ids to it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..tokenization.continuation import decode_continuation
from .traces import BeamTrace, GreedyTrace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """A decoded ``text`` and the number of ``tokens`` that spell it, without the EOS or what follows a stop text.

    ``ended``: it ended with EOS or at a stop text, not at the token limit.
    ``trace``: the candidates of each step, where the caller requested a trace.
    """

    text: str
    tokens: int
    ended: bool
    trace: GreedyTrace | BeamTrace | None = None


@dataclass(frozen=True)
class Reader:
    """Ids → answers. An answer ends before the first id in ``ends`` and before the first text in ``stop``."""

    tokenizer: PreTrainedTokenizerBase
    ends: tuple[int, ...]
    stop: tuple[str, ...] = ()

    def answer(self, ids: Sequence[int], trace: GreedyTrace | BeamTrace | None = None) -> Answer:
        """The answer that generated ``ids`` spell."""
        end = next((at for at, token in enumerate(ids) if token in self.ends), None)
        answer_ids = list(ids if end is None else ids[:end])
        text = self._text(answer_ids)
        cut = min((at for stop in self.stop if (at := text.find(stop)) >= 0), default=None)
        tokens = len(answer_ids) if cut is None else self._tokens_of(answer_ids, cut)
        return Answer(text[:cut], tokens, end is not None or cut is not None, trace)

    def stopped(self, ids: Sequence[int]) -> bool:
        """Whether the ids contain a stop text, after which nothing counts."""
        text = self._text(list(ids)) if self.stop else ""
        return any(stop in text for stop in self.stop)

    def _tokens_of(self, ids: list[int], characters: int) -> int:
        """How many of the first ids spell the first ``characters`` of the text."""
        return bisect_left(range(len(ids)), characters, key=lambda count: len(self._text(ids[:count])))

    def _text(self, ids: list[int]) -> str:
        return decode_continuation(self.tokenizer, ids)
