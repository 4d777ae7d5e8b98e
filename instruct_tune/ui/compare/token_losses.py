"""The tab "Why": the loss of base and tuned on each token of an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...data.splits import Example
from ...errors import DataError
from ...services.access import Access
from ...services.inference import Inference
from ..context import PRIVATE, viewer
from ..scripted_html import packed
from ..workbench import Workbench
from .first_views import RECORDED, FirstViews
from .heat_map import heat_map, heat_tokens
from .held_out import HeldOutRows
from .text import HEADERS, TYPED, sentence, table

if TYPE_CHECKING:
    from ...evaluation.token_losses import AnswerLosses

BEFORE = "One pass of the model gives a map: each token, and what base and tuned would rather have said there."
NO_ANSWER = "An instruction of your own has no expected answer: type one under Another answer."


class TokenLossesPanel:
    """A tab with its own button. Compare clears it with ``outputs`` and ``before`` when the question changes.

    ``first``: what it shows from the start.
    """

    def __init__(
        self,
        bench: Workbench,
        rows: HeldOutRows,
        first: FirstViews | None,
        *,
        inference: Inference,
        access: Access,
    ):
        self.rows, self.inference, self.access = rows, inference, access
        value = first.why if first else {}
        with bench.choose, gr.Column(elem_classes=["of-view", "of-why"]):
            self.other = gr.Textbox(
                label="Another answer (optional)",
                info="Read instead of the expected one",
                lines=1,
                max_lines=6,
                elem_id="compare-why-answer",
            )
        with bench.act, gr.Column(elem_classes=["of-view", "of-why"]):
            self.button = gr.Button("Read token by token", variant="primary", elem_id="compare-why-read")
        with gr.Tab("Why", id="Why", elem_id="compare-why"):
            gr.Markdown(
                "How likely base and tuned find each token of the expected answer, given all before it. "
                "The losses (−ln of the probability) sum to the loss of the row.",
                elem_classes="note",
            )
            self.sentence = gr.Markdown(_with_origin(value) if value else BEFORE, elem_id="compare-why-sentence")
            self.map = heat_map("compare-why-map", value.get("tokens"))
            with gr.Accordion("Every token as a table", open=False):
                self.table = gr.Dataframe(
                    value.get("table"),
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

    def before(self, first: FirstViews | None) -> list[Any]:
        """The updates that show what was recorded, or clear the outputs where nothing was."""
        if not first:
            return [BEFORE, gr.HTML(None, visible="hidden"), []]
        value = first.why
        return [_with_origin(value), gr.HTML(packed(value["tokens"]), visible=True), value["table"]]

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

    def _read(
        self, run_id: str | None, source: str, number: float | None, instruction: str, input: str, other: str
    ) -> list[Any]:
        if not run_id:
            gr.Info("There is no trained run yet: train one first.")
            return self.before(None)
        if source == TYPED:
            if not other:
                raise DataError(NO_ANSWER)
            row = Example(instruction, input or "", other)
        else:
            # From the dataset, not from the page: text boxes strip the surrounding whitespace.
            row = self.rows.get(run_id, int(number or 1)).example
            row = replace(row, output=other or row.output)
        losses = self.inference.token_losses(viewer(self.access), run_id, row)
        value = why_value(losses)
        return [value["sentence"], gr.HTML(packed(value["tokens"]), visible=True), value["table"]]


def why_value(losses: AnswerLosses) -> dict[str, Any]:
    """What the tab shows of an answer, as JSON."""
    return {"sentence": sentence(losses), "tokens": heat_tokens(losses), "table": table(losses)}


def _with_origin(value: dict[str, Any]) -> str:
    return f"{value['sentence']} {RECORDED}"
