"""Held-out rows with the answers that the last evaluation of the run recorded: no model is loaded for them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...data.splits import Example
from ...services.access import Access
from ...services.answerers import Answerers
from ...services.evaluations import Evaluations
from ...services.runs import Runs
from ..context import viewer
from ..formatting import decoding
from .text import recorded_sentence


@dataclass(frozen=True)
class HeldOutRow:
    """``answers``: the row of the evaluation's predictions; None where the evaluation did not get so far.

    ``sentence``: when and how the answers were made, Markdown. ``decoding``: the settings alone, in words.
    """

    example: Example
    answers: Mapping[str, Any] | None = None
    sentence: str = ""
    decoding: str = ""


class HeldOutRows:
    """The rows of a run's data that are held out, by their number from 1 in the order of the split."""

    def __init__(self, *, runs: Runs, answerers: Answerers, evaluations: Evaluations, access: Access):
        self._runs, self._answerers, self._evaluations, self._access = runs, answerers, evaluations, access

    def get(self, run_id: str, number: int) -> HeldOutRow:
        """A row. Only one that was not evaluated takes the dataset. Raises DataError beyond the last."""
        requester = viewer(self._access)
        answers = self._evaluations.recorded_row(requester, run_id, number - 1)
        if answers is None:
            return HeldOutRow(self._answerers.held_out_row(requester, run_id, number - 1))
        example = Example(answers["instruction"], answers["input"], answers["reference"])
        evaluation = self.evaluation(run_id)
        provenance = self._runs.get(requester, run_id).provenance
        sentence = recorded_sentence(evaluation, provenance)
        return HeldOutRow(example, answers, sentence, decoding(evaluation["generation"]))

    def first(self, run_id: str | None) -> HeldOutRow:
        """The first row where it was evaluated, else an empty one: the dataset is not loaded."""
        is_there = run_id is not None and self._recorded(run_id)
        return self.get(str(run_id), 1) if is_there else HeldOutRow(Example("", "", ""))

    def evaluation(self, run_id: str) -> Mapping[str, Any]:
        """The run's last evaluation; empty where it has none."""
        return next(iter(self._runs.evaluations(viewer(self._access), run_id)), {})

    def wrapped(self, run_id: str, number: int) -> int:
        """``number``, or where there is no such row, that of as many rows on, from the first again after the last.

        The dataset is not loaded for an evaluated row, which is there at once.
        """
        return number if 1 <= number <= self._recorded(run_id) else (number - 1) % self._count(run_id) + 1

    def random(self, run_id: str) -> int:
        """The number of some row: of an evaluated one where there are any."""
        return random.randrange(self._recorded(run_id) or self._count(run_id)) + 1

    def _recorded(self, run_id: str) -> int:
        is_there = self._evaluations.recorded_row(viewer(self._access), run_id, 0) is not None
        return self.evaluation(run_id)["rows"] if is_there else 0

    def _count(self, run_id: str) -> int:
        return self._answerers.held_out_count(viewer(self._access), run_id)
