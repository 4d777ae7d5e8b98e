"""The Data tab's report on the rows before training, and the checkbox that removes leakage."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from ...config.filters import DROP_LEAKAGE
from ...config.run_config import RunConfig
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.datasets import Datasets
from ..context import ONE_BY_ONE, QUIET, viewer
from ..form import Form
from ..scripted_html import Piece
from .filter_text import with_leakage_step
from .filters import FiltersPanel, has_leakage_step
from .text import (
    LEAK_HEADERS,
    LEAK_WIDTHS,
    TWIN_HEADERS,
    TWIN_WIDTHS,
    charts,
    leak_rows,
    pairs_title,
    report_sentences,
    twin_rows,
    whole,
)

AT_ONCE = 20_000
"""Rows up to which the report takes seconds, so that it needs no button."""
LOOKING = "Looking at the rows …"


def histograms(elem_id: str) -> gr.HTML:
    """The empty component; ``histograms_value`` makes its value."""
    return Piece("histograms", '<div class="histograms"></div>').component(elem_id)


def histograms_value(charts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The component's value from ``text.charts``: numbers and the app's own words, no text of a dataset."""
    return {"charts": list(charts)}


class ReportPanel:
    """The report. It is made while its tab is open; of more than ``AT_ONCE`` rows, by a button.

    ``other``: the tab beside it.
    """

    def __init__(
        self,
        form: Form,
        filters: FiltersPanel,
        tab: gr.Tab,
        other: gr.Tab,
        *,
        configs: Configurations,
        datasets: Datasets,
        access: Access,
    ):
        self._configs, self._datasets, self._access = configs, datasets, access
        self._form, self._filters, self._tab, self._other = form, filters, tab, other
        with gr.Column() as self._all:
            self._check = gr.Button("Check this data", elem_id="data-check", visible=False)
            self._sentence = gr.Markdown(LOOKING, elem_id="report-sentence")
            with gr.Column(visible=False) as self._report_column:
                self._charts = histograms("report-lengths")
                self._drop = gr.Checkbox(
                    False,
                    label="Leave near copies of held-out rows out of the training",
                    info="Held-out rows stay, so that scores can be compared. A filter of the list, kept with the run",
                    elem_id="report-drop",
                )
                self._leaks = _PairTable("report-leaks", LEAK_HEADERS, LEAK_WIDTHS)
                self._twins = _PairTable("report-twins", TWIN_HEADERS, TWIN_WIDTHS)
        self._config = gr.State(None)
        self._checked, self._is_open = gr.State(None), gr.State(False)

    @property
    def outputs(self) -> list[Any]:
        """The components that ``waiting`` and ``hidden`` update."""
        return [self._all, self._check, self._sentence, self._report_column, self._checked]

    def waiting(self, rows: int) -> dict[Any, Any]:
        """Other rows, ``rows`` of them, are shown; their report is made in the open tab, or by the button."""
        at_once = rows <= AT_ONCE
        return {
            self._all: gr.Column(visible=True),
            self._check: gr.Button(visible=not at_once),
            self._sentence: LOOKING if at_once else f"A report on {rows:,} rows takes a while.",
            self._report_column: gr.Column(visible=False),
            self._checked: None if at_once else "by the button",
        }

    def hidden(self) -> dict[Any, Any]:
        """There are no rows to report on."""
        return {self._all: gr.Column(visible=False)}

    @property
    def shown(self) -> list[Any]:
        """The components that ``check`` updates."""
        return [
            self._sentence,
            self._checked,
            self._report_column,
            self._charts,
            self._drop,
            self._config,
            *self._leaks.all,
            *self._twins.all,
        ]

    def check(self, values: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        """Make the report on all rows and show it."""
        yield {self._sentence: LOOKING}
        settings = self._settings(values)
        config = self._configs.read(viewer(self._access), settings)
        report = self._datasets.report(viewer(self._access), config, waits=False)
        leaks, twins = report["leakage"]["rows"], report["duplicates"]["near"]
        yield {
            self._sentence: report_sentences(report, config.train.overlong),
            self._checked: settings,
            self._report_column: gr.Column(visible=True),
            self._charts: histograms_value(charts(report)),
            self._drop: gr.Checkbox(visible=bool(leaks) or DROP_LEAKAGE in config.data.filters),
            # Pairs hold indices into the whole split, so rows are looked up without the limit.
            self._config: dataclasses.replace(config, data=dataclasses.replace(config.data, limit=None)),
            **self._leaks.fill("Held-out rows with a near copy in training", leak_rows(report), leaks),
            **self._twins.fill("Training rows that ask nearly the same", twin_rows(report), twins),
        }

    def _check_unless_shown(self, values: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        settled = values[self._checked] in (self._settings(values), "by the button")
        if settled or not values[self._is_open]:
            yield {self._sentence: gr.skip()}
        else:
            yield from self.check(values)

    def _settings(self, values: dict[Any, Any]) -> dict[str, Any]:
        """The sections of the form that the report depends on."""
        lengths = {name: values[self._form[f"train.{name}"]] for name in ("max_length", "overlong")}
        return {**self._form.read(values, "model", "data", "template"), "train": lengths}

    def wire(self) -> Any:
        """Connect the tab, the button and the tables; the form has to be complete.

        Returns the event of the leakage checkbox, after which rows are loaded and split again.
        """
        self._check.click(self.check, self._form.controls, self.shown, concurrency_limit=2, **QUIET)
        inputs = self._form.controls | {self._checked, self._is_open}
        opened = self._tab.select(lambda: True, None, self._is_open, **QUIET)
        self._other.select(lambda: False, None, self._is_open, **QUIET)
        # After a change too: other rows may have come while it was open, or while a report was being made.
        for event in (opened.then, self._checked.change):
            event(
                self._check_unless_shown, inputs, self.shown, trigger_mode="always_last", concurrency_limit=2, **QUIET
            )

        def leak(config: RunConfig, event: gr.SelectData) -> list[Any]:
            requester, (_, test, _, train, *_) = viewer(self._access), event.row_value
            rows = (
                self._datasets.held_out_row(requester, config, int(test) - 1),
                self._datasets.training_row(requester, config, int(train) - 1),
            )
            return self._leaks.read(rows, (f"Held-out row {test}", f"Training row {train}"))

        def twin(config: RunConfig, event: gr.SelectData) -> list[Any]:
            requester, (_, first, _, second, *_) = viewer(self._access), event.row_value
            rows = [self._datasets.training_row(requester, config, int(number) - 1) for number in (first, second)]
            return self._twins.read(rows, (f"Training row {first}", f"Training row {second}"))

        for pair_table, handler in ((self._leaks, leak), (self._twins, twin)):
            pair_table.table.select(handler, self._config, pair_table.boxes, **ONE_BY_ONE, **QUIET)
        steps = self._form["data.filters"]
        steps.change(has_leakage_step, steps, self._drop, **QUIET)
        inputs = self._form.controls | self._filters.inputs | {self._drop}
        return self._drop.input(self._leave_out, inputs, self._filters.changed, trigger_mode="always_last", **QUIET)

    def _leave_out(self, values: dict[Any, Any]) -> dict[Any, Any]:
        steps = with_leakage_step(self._filters.steps(values), values[self._drop])
        return self._filters.change(values, steps, len(steps) - 1)


class _PairTable:
    """A fold with a table of row pairs, and both rows of the selected pair side by side."""

    def __init__(self, elem_id: str, headers: list[str], widths: list[str]):
        with gr.Accordion("", open=False, visible=False, elem_id=elem_id) as self._fold:
            self.table = gr.Dataframe(
                headers=headers,
                datatype="str",
                interactive=False,
                wrap=True,
                column_widths=widths,
                max_height=360,
                show_label=False,
                label="Pairs: click one to read both rows in full",
                elem_id=f"{elem_id}-table",
                elem_classes="pairs",
            )
            gr.Markdown("Click a pair to read both rows in full, side by side.", elem_classes="note")
            with gr.Row():
                self.boxes = [
                    gr.Textbox(
                        visible=False, interactive=False, lines=6, max_lines=20, min_width=320,
                        elem_classes="mono", elem_id=f"{elem_id}-{which}",
                    )
                    for which in ("first", "second")
                ]  # fmt: skip

    @property
    def all(self) -> list[Any]:
        return [self._fold, self.table, *self.boxes]

    def fill(self, what: str, rows: list[list[Any]], count: int) -> dict[Any, Any]:
        """Show the pairs, none selected; the fold is hidden where there are none."""
        hidden = dict.fromkeys(self.boxes, gr.Textbox("", visible=False))
        fold = gr.Accordion(label=pairs_title(what, rows, count), visible=bool(rows))
        return {self._fold: fold, self.table: rows, **hidden}

    def read(self, rows: Any, titles: tuple[str, str]) -> list[Any]:
        """The updates that show both rows in full."""
        return [gr.Textbox(whole(row), label=title, visible=True) for row, title in zip(rows, titles, strict=True)]
