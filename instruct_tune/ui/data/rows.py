"""The rows of the loaded dataset: search, sort, one page at a time, and one row in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...config.filters import MAX_BY_HAND
from ...config.presets import PRESETS
from ...config.run_config import RunConfig
from ...data.filters import row_id
from ...errors import DataError
from ...inspection.first_content import first_content
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.datasets import Datasets
from ...text.code_language import guess
from ..context import ONE_BY_ONE, QUIET, viewer
from ..first_preset import first_preset
from ..form import Form
from .filters import FiltersPanel
from .text import LONGEST_TEXT, cut, cut_note, example_rows, page_sentence


class ByHandPanel:
    """Buttons under the row shown in full, to keep or drop rows by hand. ``row`` holds that row's id.

    Picks outlive another filter or split, for a row's id is a hash of its texts; they end with the dataset.
    """

    def __init__(self, filters: FiltersPanel):
        self._filters = filters
        self.row, self._picked = gr.State(None), gr.State([])
        self._of = gr.State(_texts_of(PRESETS[first_preset()]))
        with gr.Row():
            small: dict[str, Any] = {"size": "sm", "min_width": 130, "scale": 0}
            self._drop = gr.Button("Drop this row", elem_id="row-drop", **small)
            self._pick = gr.Button("Pick this row", elem_id="row-pick", **small)
            self._keep_picked = gr.Button(
                "Keep only the picked", visible=False, elem_id="picked-keep", **small | {"min_width": 170}
            )
            self._drop_picked = gr.Button(
                "Drop the picked", visible=False, elem_id="picked-drop", **small | {"min_width": 150}
            )
            self._forget = gr.Button("Pick none", visible=False, elem_id="picked-none", **small)
        self._count = gr.Markdown("", elem_id="picked", elem_classes="note")

    @property
    def inputs(self) -> set[gr.components.Component]:
        """The inputs of ``follow``."""
        return {self._of}

    @property
    def outputs(self) -> list[Any]:
        """The components that ``follow`` updates."""
        return [self._of, *self._shown]

    def follow(self, config: RunConfig, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """The updates after rows of ``config`` were loaded: those of another dataset end the picks."""
        texts = _texts_of(config)
        if values[self._of] == texts:
            return {}
        return {self._of: texts, **dict(zip(self._shown, self._show([]), strict=True))}

    @property
    def _shown(self) -> list[Any]:
        return [self._picked, self._count, self._keep_picked, self._drop_picked, self._forget]

    def wire(self, form: Form) -> list[Any]:
        """Connect the buttons. Returns the events that change the filters."""
        shown = self._shown
        self._pick.click(self._add, [self.row, self._picked], shown, **QUIET)
        self._forget.click(lambda: self._show([]), None, shown, **QUIET)
        inputs = form.controls | self._filters.inputs | {self.row, self._picked}
        drop = self._drop.click(self._drop_row, inputs, self._filters.changed, **QUIET)
        outputs = [*self._filters.changed, *shown]
        return [
            drop,
            self._keep_picked.click(lambda values: self._apply(values, "keep_rows"), inputs, outputs, **QUIET),
            self._drop_picked.click(lambda values: self._apply(values, "drop_rows"), inputs, outputs, **QUIET),
        ]

    def _drop_row(self, values: dict[Any, Any]) -> dict[Any, Any]:
        gr.Info("Dropped by a filter of the list: the rows are split anew. Undo brings it back.")
        return self._filters.add_by_hand(values, "drop_rows", (values[self.row],))

    def _add(self, row: str, picked: list[str]) -> list[Any]:
        """Toggle whether the row is picked."""
        now_picked = [other for other in picked if other != row]
        if len(now_picked) == len(picked):
            now_picked.append(row)
        if len(now_picked) > MAX_BY_HAND:
            raise DataError(f"At most {MAX_BY_HAND:,} rows can be picked: keep or drop these first.")
        return self._show(now_picked)

    def _apply(self, values: dict[Any, Any], kind: str) -> dict[Any, Any]:
        changed = self._filters.add_by_hand(values, kind, tuple(values[self._picked]))
        return {**changed, **dict(zip(self._shown, self._show([]), strict=True))}

    @staticmethod
    def _show(picked: list[str]) -> list[Any]:
        rows = f"{len(picked):,} row{'' if len(picked) == 1 else 's'} picked."
        return [picked, rows if picked else "", *[gr.Button(visible=bool(picked))] * 3]


def _texts_of(config: RunConfig) -> tuple[Any, ...]:
    """The settings that decide which texts the rows have before they are filtered and split."""
    data = config.data
    return data.source, data.split, data.columns, data.unify_newlines


PAGE = 25
NO_ROW = "Click a row to read it in full."
ORDER_CHOICES = [
    ("as split", "split"),
    ("shortest answer first", "shortest"),
    ("longest answer first", "longest"),
    ("instruction A–Z", "instruction"),
]


class RowsPanel:
    """A table of one page of rows; no other rows are sent to the browser."""

    def __init__(
        self, form: Form, filters: FiltersPanel, *, configs: Configurations, datasets: Datasets, access: Access
    ):
        self._configs, self._datasets, self._access = configs, datasets, access
        self._form, self._filters = form, filters
        first = first_content(first_preset())
        self._fingerprint = gr.State(first.summary["fingerprint"])
        with gr.Column() as self._all:
            with gr.Row(elem_classes="bar"):
                self._part = gr.Radio(
                    [("training rows", "train"), ("held-out rows", "test")],
                    value="train",
                    label="Rows",
                    show_label=False,
                    container=False,
                    scale=2,
                    min_width=290,
                    elem_id="data-part",
                )
                self._search = gr.Textbox(
                    label="Search",
                    placeholder="Search in all three texts",
                    show_label=False,
                    container=False,
                    min_width=230,
                    elem_id="data-search",
                )
                self._order = gr.Dropdown(
                    ORDER_CHOICES,
                    value="split",
                    label="Sort, for looking only",
                    show_label=False,
                    container=False,
                    min_width=160,
                    elem_id="data-order",
                )
            self._table = gr.Dataframe(
                example_rows(first.rows),
                headers=["row", "instruction", "input", "output"],
                datatype=["number", "str", "str", "str"],
                interactive=False,
                wrap=True,
                max_height=560,
                column_widths=["56px", "36%", "16%", "44%"],
                show_label=False,
                buttons=[],
                label="Rows",
                elem_id="data-rows",
                elem_classes="lines",
            )
            with gr.Row(elem_classes="pager"):
                self._back = gr.Button(
                    "Previous page", size="sm", elem_id="data-back", min_width=140, scale=0, interactive=False
                )
                self._where = gr.Markdown(page_sentence(first.rows, "", PAGE), elem_id="data-where")
                self._forth = gr.Button("Next page", size="sm", elem_id="data-forth", min_width=140, scale=0)
            self._page = gr.State(1)
            self._title = gr.Markdown(NO_ROW, elem_id="data-row-title")
            with gr.Column(visible=False) as self._row:
                with gr.Row():
                    self._instruction = _text("instruction")
                    self._input = _text("input")
                self._output = gr.Code(
                    label="Output",
                    interactive=False,
                    wrap_lines=True,
                    lines=3,
                    max_lines=30,
                    elem_id="data-row-output",
                )
                self._by_hand = ByHandPanel(filters)

    @property
    def inputs(self) -> set[gr.components.Component]:
        """The inputs of ``show`` and ``page``, beside the form."""
        return {self._part, self._search, self._order, self._page, self._fingerprint} | self._by_hand.inputs

    @property
    def outputs(self) -> list[Any]:
        """The components that ``show`` updates."""
        return [*self._paged, self._fingerprint, self._title, self._row, self._by_hand.row, *self._by_hand.outputs]

    @property
    def _paged(self) -> list[Any]:
        return [self._all, self._table, self._where, self._back, self._forth, self._page]

    def hidden(self) -> dict[Any, Any]:
        """The update that hides the rows."""
        return {self._all: gr.Column(visible=False)}

    def show(self, config: RunConfig, values: Mapping[Any, Any], fingerprint: str) -> dict[Any, Any]:
        """The updates for the first page of rows just loaded; ``fingerprint`` is theirs.

        A row of other ones is no longer shown in full.
        """
        updates = {**self.page(config, values, 1), **self._by_hand.follow(config, values)}
        if fingerprint != values[self._fingerprint]:
            closed = {self._title: NO_ROW, self._row: gr.Column(visible=False), self._by_hand.row: None}
            updates |= {self._fingerprint: fingerprint, **closed}
        return updates

    def page(self, config: RunConfig, values: Mapping[Any, Any], number: int) -> dict[Any, Any]:
        """The updates for page ``number`` of the rows that match the search, in the chosen order."""
        search = values[self._search] or ""
        page = self._datasets.page(
            viewer(self._access), config, values[self._part], search, values[self._order], number, PAGE
        )
        return {
            self._all: gr.Column(visible=True),
            self._table: example_rows(page),
            self._where: page_sentence(page, search, PAGE),
            self._back: gr.Button(interactive=page.page > 1),
            self._forth: gr.Button(interactive=page.page < page.pages),
            self._page: page.page,
        }

    def wire(self) -> list[Any]:
        """Connect the controls; the form has to be complete. Returns the events that change the filters."""
        inputs = self._form.controls | self.inputs

        def page_handler(step: int) -> Any:
            def handler(values: dict[Any, Any]) -> dict[Any, Any]:
                config = self._configs.read(viewer(self._access), self._form.rows(values))
                return self.page(config, values, values[self._page] + step if step else 1)

            return handler

        # "change" for the search box: gradio sends no "input" for text pasted with the mouse.
        triggers = [self._part.input, self._search.change, self._order.input]
        gr.on(triggers, page_handler(0), inputs, self._paged, trigger_mode="always_last", **QUIET)
        self._back.click(page_handler(-1), inputs, self._paged, **QUIET)
        self._forth.click(page_handler(1), inputs, self._paged, **QUIET)
        shown = [self._title, self._row, self._instruction, self._input, self._output, self._by_hand.row]
        self._table.select(self._show_row, self._form.controls | {self._part}, shown, **ONE_BY_ONE, **QUIET)
        return self._by_hand.wire(self._form)

    def _show_row(self, values: dict[Any, Any], event: gr.SelectData) -> dict[Any, Any]:
        # By the number in the row: the browser may have sorted the table differently.
        number = int(event.row_value[0])
        config, held_out = self._form.rows(values), values[self._part] == "test"
        requester = viewer(self._access)
        index = number - 1
        row = (
            self._datasets.held_out_row(requester, config, index)
            if held_out
            else self._datasets.training_row(requester, config, index)
        )
        language, row_hash = guess(row.output), row_id(row.instruction, row.input, row.output)
        title = f"**{'Held-out' if held_out else 'Training'} row {number:,}**"
        label = f"Output (looks like {language}: a guess)" if language else "Output"
        return {
            self._title: f"{title}{cut_note(row)} · id `{row_hash}`",
            self._by_hand.row: row_hash,
            self._row: gr.Column(visible=True),
            self._instruction: cut(row.instruction, LONGEST_TEXT),
            self._input: gr.Textbox(cut(row.input, LONGEST_TEXT), visible=bool(row.input)),
            self._output: gr.Code(cut(row.output, LONGEST_TEXT), language=language, label=label),
        }


def _text(part: str) -> gr.Textbox:
    return gr.Textbox(
        label=part.capitalize(),
        lines=2,
        max_lines=12,
        min_width=320,
        interactive=False,
        elem_id=f"data-row-{part}",
        elem_classes="mono",
    )
