"""The Data tab: choose a dataset, filter its rows, split them and look at them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...errors import LabError
from ...inspection.first_content import first_content, recorded_rows
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.datasets import Datasets
from ...services.housekeeping import Housekeeping
from ...services.uploads import Uploads
from ..as_python import AsPython
from ..browser_state import Memory, with_recent
from ..context import QUIET, error_sentence, viewer
from ..first_preset import first_preset
from ..form import Form
from ..workbench import workbench
from .filters import FiltersPanel
from .loading import LoadPanel
from .report import ReportPanel
from .rows import RowsPanel
from .source import ColumnsPanel, SourcePanel
from .text import columns_sentence, data_sentence, notes_sentence, on_the_hub_sentence


class DataTab:
    """The tab's contents. ``following`` is the button to the next tab."""

    def __init__(
        self,
        form: Form,
        as_python: AsPython,
        memory: Memory,
        tab: gr.Tab,
        *,
        configs: Configurations,
        uploads: Uploads,
        datasets: Datasets,
        housekeeping: Housekeeping,
        access: Access,
    ):
        self._configs, self._uploads, self._datasets, self._access = configs, uploads, datasets, access
        self._form, self._memory, self._tab = form, memory, tab
        first = first_content(first_preset())
        bench = workbench("data")
        with bench.choose:
            self._source = SourcePanel(
                form, memory, configs=configs, uploads=uploads, housekeeping=housekeeping, access=access
            )
            self._filters = FiltersPanel(form, configs=configs, datasets=datasets, access=access)
            self._columns = ColumnsPanel(form)
        with bench.act, gr.Row():
            self._load = gr.Button("Load and split", elem_id="data-load")
            self.following = gr.Button("Next: Format", variant="primary", elem_id="data-next")
        with bench.show:
            self._loading = LoadPanel(datasets=datasets, access=access)
            self._summary = gr.Markdown(data_sentence(first.summary, "bundled"), elem_id="data-summary")
            self._unify = gr.Button("Unify line ends", size="sm", visible=False, elem_id="data-unify")
            with gr.Tabs(elem_id="data-views"):
                with gr.Tab("Rows", id="Rows") as rows_tab:
                    self._rows = RowsPanel(form, self._filters, configs=configs, datasets=datasets, access=access)
                with gr.Tab("Report") as report_tab:
                    self._report = ReportPanel(
                        form, self._filters, report_tab, rows_tab, configs=configs, datasets=datasets, access=access
                    )
            as_python.fold("data")
        self._shown = gr.State(None)
        """The settings whose rows are shown; None for the recorded rows of a new page."""
        form.when_complete(self._wire)

    def _wire(self) -> None:
        # The page shows its own progress.
        # Bound once: gradio counts concurrent runs by function identity, and each attribute access makes a new method
        # object.
        show, inputs, shown = self._show, self._inputs, self._outputs
        # A load takes the place of the one before it, so none is skipped because another is under way.
        again = {"trigger_mode": "multiple", **QUIET}
        unified = self._unify.click(lambda: True, None, self._columns.unify, **QUIET)
        chosen, uploaded = self._source.wire(show, inputs, shown)
        self._loading.wire()
        loads = [
            self._load.click(show, inputs, shown, **again),
            unified.success(show, inputs, shown, **again),
            uploaded,
            self._filters.file.wire(show, inputs, shown),
            self._report.wire().success(show, inputs, shown, **again),
        ]
        edits = [chosen, *self._filters.wire(), *self._rows.wire(), *self._columns.wire()]
        # After a load too: something else may have been chosen meanwhile.
        self.refresh_after(self._tab.select, *(event.success for event in (*edits, *loads)))

    def refresh_after(self, *events: Any) -> None:
        """Show the rows of the form's settings after each event, where they can be had at once."""
        for event in events:
            event(self._refresh, self._inputs, self._outputs, trigger_mode="always_last", **QUIET)

    @property
    def _inputs(self) -> set[Any]:
        state = {self._memory.recent, self._shown}
        return self._form.controls | self._rows.inputs | self._filters.inputs | state

    @property
    def _outputs(self) -> list[Any]:
        parts = (self._filters, self._columns, self._rows, self._loading, self._report)
        own = [self._summary, self._load, self._unify, self.following, self._memory.recent, self._shown]
        return own + [output for part in parts for output in part.outputs]

    def _show(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Load and show the rows of the form's settings, with progress."""
        try:
            requested = self._configs.read(viewer(self._access), self._form.rows(values))
            completed, config = yield from self._loading.follow(requested, request)
            summary = self._datasets.summary(viewer(self._access), config) if config else None
        except LabError as error:
            # The rows of the former dataset must not stand under the name of this one.
            yield self._without_rows(error_sentence(error), {})
            raise
        if config is None or summary is None:
            # What took this load's place says what there is. Cancelled, the same rows are not tried again.
            cancelled = self._without_rows("Cancelled: nothing was loaded.", self._form.rows(values))
            yield {self._summary: gr.skip()} if completed is None else cancelled
            return
        columns, is_proposal = config.data.columns, config != requested
        proposed = self._columns.proposed(columns) if is_proposal else {}
        sentence = data_sentence(summary, self._uploads.display_name(config.data.source))
        yield {
            self._summary: f"{sentence} {columns_sentence(summary, columns, is_proposal)} {notes_sentence(summary)}",
            self._unify: gr.Button(visible=bool(summary["notes"])),
            # As the form has them with the proposal: else the same rows would come again, without its sentence.
            self._shown: self._form.rows(values | proposed),
            # Highlight the next step.
            self._load: gr.Button(variant="secondary"),
            self.following: gr.Button(variant="primary"),
            self._memory.recent: with_recent(values[self._memory.recent], config.data.source),
            **proposed,
            **self._filters.show(config.data.filters, summary),
            **self._report.waiting(summary["train_rows_before_limit"] + summary["test_rows"]),
            **self._rows.show(config, values, summary["fingerprint"]),
        }

    def _refresh(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """``_show`` for rows that are not shown yet; where they have to be downloaded, say so."""
        settings = self._form.rows(values)
        try:
            if self._is_shown(values, settings):
                yield {self._summary: gr.skip()}
                return
            at_hand = self._datasets.is_at_hand(viewer(self._access), settings)
        except LabError as error:
            yield self._without_rows(error_sentence(error), {})
            raise
        if at_hand:
            yield from self._show(values, request)
        else:
            yield self._without_rows(on_the_hub_sentence(settings["data"]["source"]), settings)

    def _without_rows(self, sentence: str, settings: dict[str, Any]) -> dict[Any, Any]:
        """The updates that show a sentence instead of rows. ``settings``: those whose rows are not tried again."""
        return {
            self._summary: sentence,
            self._load: gr.Button(variant="primary"),
            self.following: gr.Button(variant="secondary"),
            self._shown: settings,
            **self._loading.hidden(),
            **self._filters.forget(),
            **self._rows.hidden(),
            **self._report.hidden(),
        }

    def _is_shown(self, values: dict[Any, Any], settings: dict[str, Any]) -> bool:
        if values[self._shown] is not None:
            return bool(values[self._shown] == settings)
        recorded = recorded_rows(self._configs.read(viewer(self._access), settings))
        return recorded == first_content(first_preset())
