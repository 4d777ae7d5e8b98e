"""The question of Compare: a held-out row, with an expected answer, or a typed instruction without one."""

from __future__ import annotations

import random
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.answerers import Answerers
from ...services.runs import Runs
from ...text.code_language import guess
from ..context import QUIET, user_errors, viewer
from .text import HELD_OUT, TYPED

NO_EXPECTED = "Expected answer: an instruction of your own has none"
EXPECTED = "Expected answer (the dataset's own)"


class QuestionPanel:
    """The controls for the question, and the buttons that go to another held-out row of ``run``."""

    def __init__(self, run: gr.Dropdown, *, runs: Runs, answerers: Answerers, access: Access):
        self.runs, self.answerers, self.access = runs, answerers, access
        self.run = run
        with gr.Row(equal_height=True):
            self.source = gr.Radio(
                [HELD_OUT, TYPED],
                value=HELD_OUT,
                label="Ask",
                info="Held-out rows were never trained on",
                elem_id="compare-source",
                min_width=280,
            )
            self.number = gr.Number(
                1,
                label="Row",
                info="In the order of the split",
                precision=0,
                minimum=1,
                elem_id="compare-row",
                min_width=120,
            )
            with gr.Column(min_width=240, elem_classes="beside"), gr.Row():
                self.back = gr.Button("Previous", size="sm", elem_id="compare-previous", min_width=70)
                self.on = gr.Button("Next", size="sm", elem_id="compare-following", min_width=70)
                self.any = gr.Button("Random", size="sm", elem_id="compare-random", min_width=70)
        with gr.Row():
            self.instruction = gr.Textbox(
                label="Instruction", min_width=320, lines=2, max_lines=8, elem_id="compare-instruction"
            )
            self.input = gr.Textbox(
                label="Input (optional)", min_width=320, lines=2, max_lines=8, elem_id="compare-input"
            )
        self.expected = answer_box(EXPECTED, "compare-expected", lines=4)

    @property
    def shown(self) -> list[Any]:
        """The components of run, kind of question, row, instruction and input, in this order."""
        return [self.run, self.source, self.number, self.instruction, self.input]

    def wire(self) -> None:
        """Connect the three buttons that go to another row."""
        for button, step in ((self.back, -1), (self.on, 1), (self.any, 0)):
            button.click(self._row_handler(step), [self.run, self.number], [self.source, self.number], **QUIET)

    def row(self, run_id: str | None, source: str, number: float | None) -> list[Any]:
        """The updates of instruction, input and expected answer for another row or run."""
        if source == TYPED or not run_id or not self.runs.is_visible(viewer(self.access), run_id):
            return [gr.skip(), gr.skip(), no_expected(source)]
        return self._texts(run_id, number)

    @user_errors
    def _texts(self, run_id: str, number: float | None) -> list[Any]:
        example = self.answerers.held_out_row(viewer(self.access), run_id, int(number or 1) - 1)
        return [
            example.instruction,
            example.input,
            gr.Code(example.output, language=guess(example.output), label=EXPECTED),
        ]

    def _row_handler(self, step: int) -> Any:
        """A handler that goes ``step`` held-out rows on, wrapping around; to a random row where ``step`` is 0."""

        @user_errors
        def handler(run_id: str | None, number: float | None) -> list[Any]:
            if not run_id:
                return [HELD_OUT, 1]
            rows = self.answerers.held_out_count(viewer(self.access), run_id)
            at = int(number or 1) - 1
            return [HELD_OUT, (at + step) % rows + 1 if step else random.randrange(rows) + 1]

        return handler


def no_expected(source: str) -> Any:
    """The update of the expected answer's box: empty for a typed instruction, unchanged for a row."""
    return gr.Code("", language=None, label=NO_EXPECTED) if source == TYPED else gr.skip()


def answer_box(label: str, elem_id: str, lines: int) -> gr.Code:
    """A code box of fixed height, so that the page does not move while an answer streams."""
    return gr.Code(
        label=label,
        language=None,
        lines=lines,
        max_lines=lines,
        interactive=False,
        wrap_lines=True,
        show_line_numbers=False,
        buttons=["copy"],
        elem_id=elem_id,
    )
