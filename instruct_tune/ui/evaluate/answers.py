"""The rows of an evaluation: search, sort and paging on the server, and one row in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.evaluations import Evaluations
from ...text.code_language import guess
from ..context import ONE_BY_ONE, QUIET, viewer
from ..diff_panel import DiffPanel
from .text import ALL, CHANGED, HEADERS, SHOWS, SORTS, Page, Wanted, page_of, row_sentence

NO_ROWS = "The rows stand here once the run is evaluated: each answer of base and tuned beside the expected one."


class AnswersPanel:
    """Search controls, a table of one page of rows, and one row in full: the table's first one until one is clicked."""

    def __init__(self, *, evaluations: Evaluations, access: Access):
        self.evaluations, self.access = evaluations, access
        with gr.Row():
            self.search = gr.Textbox(
                label="Search",
                placeholder="In instruction, expected answer and both answers",
                elem_id="evaluate-search",
                min_width=220,
                scale=2,
            )
            self.show = gr.Dropdown(
                list(SHOWS),
                value=ALL,
                label="Show",
                elem_id="evaluate-show",
                min_width=150,
            )
            self.sort = gr.Dropdown(
                list(SORTS),
                value=CHANGED,
                label="Sort",
                elem_id="evaluate-sort",
                min_width=150,
            )
        self.number = gr.State(1)
        self.table = gr.Dataframe(
            headers=HEADERS,
            datatype=["number", "str", "str", "str", "str", "str"],
            interactive=False,
            max_height=264,
            buttons=[],
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
        self.row_details = gr.Markdown(NO_ROWS, elem_id="evaluate-row")
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
            self.difference = DiffPanel("evaluate", shown=True)

    def _box(self, label: str, elem_id: str, classes: str) -> gr.Code:
        return gr.Code(
            label=label,
            interactive=False,
            wrap_lines=True,
            show_line_numbers=False,
            lines=2,
            max_lines=16,
            min_width=320,
            buttons=["copy"],
            elem_id=elem_id,
            elem_classes=classes.split(),
        )

    @property
    def controls(self) -> list[Any]:
        """The controls of search, filter and order."""
        return [self.search, self.show, self.sort]

    @property
    def outputs(self) -> list[Any]:
        """The components that ``fresh`` updates: the table, one row in full, and its differences."""
        return [*self._page_outputs, *self._row_outputs, *self.difference.outputs]

    @property
    def _page_outputs(self) -> list[Any]:
        return [self.number, self.table, self.where, self.back, self.on]

    @property
    def _row_outputs(self) -> list[Any]:
        return [self.row_details, self.whole, self.instruction, self.expected, self.base, self.tuned]

    def fresh(self, run_id: str, seq: int, search: str, show: str, sort: str) -> list[Any]:
        """The updates for the first page of an evaluation, with its first row in full."""
        rows = self.evaluations.predictions(viewer(self.access), run_id, seq)
        page = page_of(rows, Wanted(search or "", show, sort))
        if not page.cells:
            return [*self._page_updates(page), *self._no_row("")]
        number = page.cells[0][0]
        row = rows[number - 1]
        difference = self.difference.updates(row["reference"], row["base"], row["tuned"])
        return [*self._page_updates(page), *_in_full(number, row), *difference]

    def emptied(self) -> list[Any]:
        """The updates of ``outputs`` for a run without an evaluation."""
        return [1, [], "", gr.Button(interactive=False), gr.Button(interactive=False), *self._no_row(NO_ROWS)]

    def _no_row(self, words: str) -> list[Any]:
        return [words, gr.Column(visible=False), *[gr.skip()] * 4, *self.difference.blank]

    def _page_updates(self, page: Page) -> list[Any]:
        buttons = gr.Button(interactive=page.number > 1), gr.Button(interactive=page.number < page.pages)
        return [page.number, page.cells, page.sentence, *buttons]

    def wire(self, run: gr.Dropdown, evaluation: gr.Dropdown) -> None:
        """Connect the events. ``run`` and ``evaluation`` choose the evaluation whose rows are shown."""
        inputs, page_outputs = [run, evaluation, *self.controls], self._page_outputs
        for trigger in (self.search.input, self.show.input, self.sort.input):
            # One at a time: gradio may send both of two fast key strokes, and the older result must not arrive last.
            latest = {"trigger_mode": "always_last", "concurrency_limit": 1}
            trigger(self._page_handler(0), inputs, page_outputs, **latest, **QUIET)
        for button, step in ((self.back, -1), (self.on, 1)):
            button.click(self._page_handler(step), [*inputs, self.number], page_outputs, **QUIET)
        chosen = self.table.select(self._choose, [run, evaluation], self._row_outputs, **ONE_BY_ONE, **QUIET)
        self.difference.wire(chosen, self.expected, [self.base, self.tuned])

    def _page_handler(self, step: int) -> Any:
        def load(run_id: str | None, seq: int | None, search: str, show: str, sort: str, number: int = 1) -> list[Any]:
            rows: Sequence[Any] = (
                self.evaluations.predictions(viewer(self.access), run_id, seq) if run_id and seq is not None else ()
            )
            return self._page_updates(page_of(rows, Wanted(search or "", show, sort, number + step)))

        return load

    def _choose(self, run_id: str | None, seq: int | None, event: gr.SelectData) -> list[Any]:
        # By the number in the row: the browser may have sorted the table differently.
        number = int(event.row_value[0])
        if not run_id or seq is None:
            return [NO_ROWS, gr.Column(visible=False), *[gr.skip()] * 4]
        return _in_full(number, self.evaluations.predictions(viewer(self.access), run_id, seq)[number - 1])


def _in_full(number: int, row: Mapping[str, Any]) -> list[Any]:
    """The updates that show one row in full. ``number`` counts the evaluation's rows from 1."""
    language = guess(row["reference"])
    boxes = [gr.Code(row[name], language=guess(row[name]) or language) for name in ("reference", "base", "tuned")]
    question = "\n\n".join(filter(None, (row["instruction"], row["input"])))
    return [row_sentence(number, row), gr.Column(visible=True), question, *boxes]
