"""The tab "Why": the loss of base and tuned on each token of an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from ...data.splits import Example
from ...errors import DataError
from ...services.access import Access
from ...services.inference import Inference
from ..context import PRIVATE, user_errors, viewer
from .heat_map import heat_map, heat_value
from .held_out import HeldOutRows
from .text import HEADERS, TYPED, sentence, table

BEFORE = "One pass of the model gives a map: each token, and what base and tuned would rather have said there."
NO_ANSWER = "An instruction of your own has no expected answer: type one under Another answer."


class TokenLossesPanel:
    """A tab with its own button. Compare clears it with ``outputs`` and ``blank`` when the question changes."""

    def __init__(self, rows: HeldOutRows, *, inference: Inference, access: Access):
        self.rows, self.inference, self.access = rows, inference, access
        with gr.Tab("Why", id="Why", elem_id="compare-why"):
            gr.Markdown(
                "How likely base and tuned find each token of the expected answer, given all before it. "
                "The losses (−ln of the probability) sum to the loss of the row.",
                elem_classes="note",
            )
            self.other = gr.Textbox(
                label="Another answer (optional)",
                info="Read instead of the expected one",
                lines=1,
                max_lines=6,
                elem_id="compare-why-answer",
            )
            self.button = gr.Button("Read the answer token by token", elem_id="compare-why-read", size="md")
            self.sentence = gr.Markdown(BEFORE, elem_id="compare-why-sentence")
            self.map = heat_map("compare-why-map")
            with gr.Accordion("Every token as a table", open=False):
                self.table = gr.Dataframe(
                    headers=HEADERS,
                    datatype="str",
                    interactive=False,
                    wrap=True,
                    max_height=400,
                    label="Tokens",
                    elem_id="compare-why-table",
                )

    @property
    def outputs(self) -> list[Any]:
        return [self.sentence, self.map, self.table]

    @property
    def blank(self) -> list[Any]:
        """The updates that clear the outputs."""
        return [BEFORE, gr.HTML(None, visible="hidden"), []]

    def wire(self, question: list[Any]) -> Any:
        """Connect the button. Returns its event, for cancelling. ``question``: ``QuestionPanel.shown``."""
        return self.button.click(
            self._read,
            [*question, self.other],
            self.outputs,
            concurrency_limit=4,
            show_progress="minimal",
            **PRIVATE,
        )

    @user_errors
    def _read(
        self, run_id: str | None, source: str, number: float | None, instruction: str, input: str, other: str
    ) -> list[Any]:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return self.blank
        if source == TYPED:
            if not other:
                raise DataError(NO_ANSWER)
            row = Example(instruction, input or "", other)
        else:
            # From the dataset, not from the page: text boxes strip the surrounding whitespace.
            row = self.rows.get(run_id, int(number or 1)).example
            row = replace(row, output=other or row.output)
        losses = self.inference.token_losses(viewer(self.access), run_id, row)
        return [sentence(losses), gr.HTML(heat_value(losses), visible=True), table(losses)]
