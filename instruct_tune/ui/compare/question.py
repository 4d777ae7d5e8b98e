"""The question of Compare: a held-out row, with an expected answer, or a typed instruction without one."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...data.splits import Example
from ...text.code_language import guess
from ..number_box import NumberBox
from .text import HELD_OUT, TYPED

NO_EXPECTED = "Expected answer: an instruction of your own has none"
EXPECTED = "Expected answer (the dataset's own)"


class QuestionPanel:
    """The controls for the question."""

    def __init__(self, run: gr.Dropdown, first: Example):
        """``first``: the row that is shown from the start."""
        self.run, self._first = run, first
        self.source = gr.Radio(
            [HELD_OUT, TYPED],
            value=HELD_OUT,
            label="Ask",
            info="Held-out rows, in the order of the split, were never trained on",
            elem_id="compare-source",
        )
        with gr.Row(elem_id="compare-rows"):
            self.number = NumberBox(1, label="Row", precision=0, minimum=1, elem_id="compare-row", min_width=60)
            self.back = gr.Button("Previous", size="sm", elem_id="compare-previous", min_width=60)
            self.on = gr.Button("Next", size="sm", elem_id="compare-following", min_width=60)
            self.random = gr.Button("Random", size="sm", elem_id="compare-random", min_width=60)
        self.instruction = gr.Textbox(
            first.instruction, label="Instruction", lines=2, max_lines=8, elem_id="compare-instruction"
        )
        self.input = gr.Textbox(first.input, label="Input (optional)", lines=1, max_lines=8, elem_id="compare-input")

    def add_expected(self) -> None:
        """Add the box with the expected answer, which stands beside the answers."""
        self.expected = answer_box(EXPECTED, "compare-expected", self._first.output, lines=4)

    @property
    def shown(self) -> list[Any]:
        """The components of run, kind of question, row, instruction and input, in this order."""
        return [self.run, self.source, self.number, self.instruction, self.input]

    @property
    def steps(self) -> list[tuple[gr.Button, int]]:
        """The buttons that go to another held-out row, and how many rows on."""
        return [(self.back, -1), (self.on, 1)]


def texts(example: Example) -> list[Any]:
    """The updates of instruction, input and expected answer for a held-out row."""
    expected = gr.Code(example.output, language=guess(example.output), label=EXPECTED)
    return [example.instruction, example.input, expected]


def no_expected(source: str) -> Any:
    """The update of the expected answer's box: empty for a typed instruction, unchanged for a row."""
    return gr.Code("", language=None, label=NO_EXPECTED) if source == TYPED else gr.skip()


def answer_box(label: str, elem_id: str, text: str, lines: int) -> gr.Code:
    """A code box of fixed height, so that the page does not move while an answer streams."""
    return gr.Code(
        text,
        label=label,
        language=guess(text),
        lines=lines,
        max_lines=lines,
        interactive=False,
        wrap_lines=True,
        show_line_numbers=False,
        buttons=["copy"],
        elem_id=elem_id,
    )
