"""An optional panel with the word differences between each answer and the expected one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ..text.word_diff import Kind, Piece, count_words, word_diff, words
from .context import QUIET
from .formatting import NAMES

# A sign beside the colour: + for words that the answer adds, − for words that it lacks.
_SIGNS = {Kind.ADDED: "+", Kind.MISSING: "−", Kind.BOTH: None}
_COLOURS = {"+": "#2563eb", "−": "#b45309"}
NOTHING = "There is nothing to compare: it takes an expected answer, and one that is not empty."


class DiffPanel:
    """A checkbox, and under it a box for each side that has an answer.

    ``names`` maps the sides' keys, which are parts of their ``elem_id``, to their titles. A tab clears the panel
    together with the answers by sending ``blank`` to ``outputs``.
    """

    def __init__(
        self,
        tab: str = "compare",
        names: Mapping[str, str] = NAMES,
        shown: bool = False,
        first: Sequence[str] | None = None,
    ) -> None:
        """``shown``: whether the boxes are there from the start.

        ``first``: the expected answer and one of each side, whose difference they show then.
        """
        expected, *answers = first or [""] * (1 + len(names))
        differences = [word_diff(expected, answer) if answer else () for answer in answers]
        self.sides: list[gr.Column] = []
        self.shown = gr.Checkbox(
            shown,
            label="Show the difference to the expected answer",
            info="Word by word: + only in this answer, − only in the expected one",
            elem_id=f"{tab}-diff-shown",
        )
        self.summaries: list[gr.Markdown] = []
        self.texts: list[gr.HighlightedText] = []
        with gr.Row(visible=shown, elem_classes="difference") as self.row:
            for (key, name), answer, pieces in zip(names.items(), answers, differences, strict=True):
                with gr.Column(min_width=320, visible=key in NAMES) as side:
                    self.sides.append(side)
                    summary = difference_summary(expected, answer, pieces) if pieces else ""
                    self.summaries.append(gr.Markdown(summary, elem_id=f"{tab}-{key}-diff-facts"))
                    self.texts.append(
                        gr.HighlightedText(
                            _highlighted(pieces),
                            label=f"{name}, beside the expected answer",
                            color_map=_COLOURS,
                            show_inline_category=True,
                            elem_id=f"{tab}-{key}-diff",
                            elem_classes="mono",
                        )
                    )

    @property
    def outputs(self) -> list[Any]:
        return [*self.sides, *self.summaries, *self.texts]

    @property
    def blank(self) -> list[Any]:
        """Values of ``outputs`` that clear the panel."""
        count = len(self.sides)
        return [*[gr.skip()] * count, *[""] * count, *[[]] * count]

    def wire(self, answered: Any, expected: gr.Code, answers: list[gr.Code]) -> None:
        """Connect the checkbox, and update the panel after ``answered``, the event that produces the answers."""
        inputs = [self.shown, expected, *answers]
        self.shown.change(lambda shown: gr.Row(visible=shown), self.shown, self.row, **QUIET)
        for event in (self.shown.change, answered.then):
            event(self._compare, inputs, self.outputs, trigger_mode="always_last", **QUIET)

    def _compare(self, shown: bool, expected: str | None, *answers: str | None) -> list[Any]:
        return self.updates(expected, *answers) if shown else [gr.skip()] * len(self.outputs)

    def updates(self, expected: str | None, *answers: str | None) -> list[Any]:
        """Values of ``outputs`` for these answers, one a side."""
        if not expected or not any(answers):
            _, *others = answers
            return [*[gr.skip()] * len(answers), NOTHING, *[""] * len(others), *[[]] * len(answers)]
        # Base and tuned are always shown; a third only if it answered.
        sides = [gr.Column(visible=bool(answer) or at < len(NAMES)) for at, answer in enumerate(answers)]
        differences = [word_diff(expected, answer or "") for answer in answers]
        summaries = [
            difference_summary(expected, answer or "", pieces)
            for answer, pieces in zip(answers, differences, strict=True)
        ]
        return [*sides, *summaries, *(_highlighted(each) for each in differences)]


def difference_summary(expected: str, answer: str, pieces: tuple[Piece, ...]) -> str:
    """The difference in numbers: ``12 of 20 expected words, 3 others.``

    ``pieces``: of ``word_diff``, which compares the beginning of long texts; the sentence says so.
    """
    expected_words, answer_words = words(expected), words(answer)
    if expected_words == answer_words:
        return "The same words as expected."
    counts = count_words(pieces)
    both, others = counts[Kind.BOTH], counts[Kind.ADDED]
    read, total = both + counts[Kind.MISSING], len(expected_words)
    read_of_answer, total_of_answer = both + others, len(answer_words)
    some = f"the first {read:,} of " if read < total else ""
    among = (
        f" among the first {read_of_answer:,} of {total_of_answer:,} words of the answer"
        if read_of_answer < total_of_answer
        else ""
    )
    return f"{both:,} of {some}{total:,} expected words, {others:,} others{among}."


def _highlighted(pieces: tuple[Piece, ...]) -> list[tuple[str, str | None]]:
    return [(piece.text, _SIGNS[piece.kind]) for piece in pieces]
