"""The rows of an evaluation: search, sort and paging on the server, and one row in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.evaluations import Evaluations
from ...text.code_language import guess
from ..context import ONE_BY_ONE, QUIET, user_errors, viewer
from ..diff_panel import DiffPanel
from .text import ALL, CHANGED, HEADERS, SHOWS, SORTS, Page, Wanted, page_of, row_sentence

HINT = "Click a row to read it in full."


class AnswersPanel:
    """Search controls, a table of one page of rows, and the selected row in full."""

    def __init__(self, *, evaluations: Evaluations, access: Access):
        self.evaluations, self.access = evaluations, access
        gr.Markdown("### Row by row")
        with gr.Row(equal_height=True):
            self.search = gr.Textbox(
                label="Search",
                info="In instruction, expected answer and both answers",
                elem_id="evaluate-search",
                min_width=220,
            )
            self.show = gr.Dropdown(
                list(SHOWS),
                value=ALL,
                label="Show",
                info="Better or worse by chrF",
                elem_id="evaluate-show",
                min_width=200,
            )
            self.sort = gr.Dropdown(
                list(SORTS),
                value=CHANGED,
                label="Sort",
                info="Gain: chrF of tuned minus base",
                elem_id="evaluate-sort",
                min_width=200,
            )
        self.number = gr.State(1)
        self.table = gr.Dataframe(
            headers=HEADERS,
            datatype=["number", "str", "str", "str", "str", "str"],
            interactive=False,
            wrap=True,
            max_height=460,
            column_widths=["5%", "7%", "21%", "21%", "23%", "23%"],
            show_label=False,
            elem_id="evaluate-table",
        )
        with gr.Row(elem_classes="pager"):
            self.back = gr.Button("Previous page", size="sm", elem_id="evaluate-previous", min_width=140, scale=0)
            self.where = gr.Markdown("", elem_id="evaluate-where")
            self.on = gr.Button("Next page", size="sm", elem_id="evaluate-following", min_width=140, scale=0)
        self._one_row()

    def _one_row(self) -> None:
        self.facts = gr.Markdown(HINT, elem_id="evaluate-row")
        with gr.Column(visible=False) as self.whole:
            with gr.Row():
                self.instruction = gr.Textbox(
                    label="Instruction and input",
                    interactive=False,
                    max_lines=8,
                    min_width=320,
                    elem_id="evaluate-asked",
                )
                self.expected = self._box("Expected answer", "evaluate-expected", "answer")
            with gr.Row():
                self.base = self._box("Base", "evaluate-base", "answer base-answer")
                self.tuned = self._box("Tuned", "evaluate-tuned", "answer tuned-answer")
            self.difference = DiffPanel("evaluate")

    def _box(self, label: str, elem_id: str, classes: str) -> gr.Code:
        return gr.Code(
            label=label,
            interactive=False,
            wrap_lines=True,
            show_line_numbers=False,
            lines=4,
            max_lines=16,
            min_width=320,
            buttons=["copy"],
            elem_id=elem_id,
            elem_classes=classes.split(),
        )

    @property
    def wishes(self) -> list[Any]:
        """The controls of search, filter and order."""
        return [self.search, self.show, self.sort]

    @property
    def outputs(self) -> list[Any]:
        """The components that ``fresh`` updates: the table and the selected row."""
        return [self.number, self.table, self.where, self.back, self.on, self.facts, self.whole]

    def fresh(self, run_id: str, seq: int, search: str, show: str, sort: str) -> list[Any]:
        """The updates for the first page of an evaluation, no row selected."""
        page = page_of(self.evaluations.predictions(viewer(self.access), run_id, seq), Wanted(search or "", show, sort))
        return [*self._page_updates(page), HINT, gr.Column(visible=False)]

    def _page_updates(self, page: Page) -> list[Any]:
        buttons = gr.Button(interactive=page.number > 1), gr.Button(interactive=page.number < page.pages)
        return [page.number, page.cells, page.sentence, *buttons]

    def wire(self, run: gr.Dropdown, evaluation: gr.Dropdown) -> None:
        """Connect the events. ``run`` and ``evaluation`` choose the evaluation whose rows are shown."""
        page_outputs = [self.number, self.table, self.where, self.back, self.on]
        for trigger in (self.search.input, self.show.input, self.sort.input):
            # One at a time: gradio may send both of two fast key strokes, and the older result must not arrive last.
            latest = {"trigger_mode": "always_last", "concurrency_limit": 1}
            trigger(self._page_handler(0), [run, evaluation, *self.wishes], page_outputs, **latest, **QUIET)
        for button, step in ((self.back, -1), (self.on, 1)):
            button.click(self._page_handler(step), [run, evaluation, *self.wishes, self.number], page_outputs, **QUIET)
        row_outputs = [self.facts, self.whole, self.instruction, self.expected, self.base, self.tuned]
        chosen = self.table.select(self._choose, [run, evaluation], row_outputs, **ONE_BY_ONE, **QUIET)
        self.difference.wire(chosen, self.expected, [self.base, self.tuned])

    def _page_handler(self, step: int) -> Any:
        @user_errors
        def load(run_id: str | None, seq: int | None, search: str, show: str, sort: str, number: int = 1) -> list[Any]:
            rows: Sequence[Any] = (
                self.evaluations.predictions(viewer(self.access), run_id, seq) if run_id and seq is not None else ()
            )
            return self._page_updates(page_of(rows, Wanted(search or "", show, sort, number + step)))

        return load

    @user_errors
    def _choose(self, run_id: str | None, seq: int | None, event: gr.SelectData) -> list[Any]:
        # By the number in the row: the browser may have sorted the table differently.
        number = int(event.row_value[0])
        if not run_id or seq is None:
            return [HINT, gr.Column(visible=False), *[gr.skip()] * 4]
        row = self.evaluations.predictions(viewer(self.access), run_id, seq)[number - 1]
        language = guess(row["reference"])
        boxes = [gr.Code(row[name], language=guess(row[name]) or language) for name in ("reference", "base", "tuned")]
        question = "\n\n".join(filter(None, (row["instruction"], row["input"])))
        return [row_sentence(number, row), gr.Column(visible=True), question, *boxes]
