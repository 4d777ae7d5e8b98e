"""The Data tab: choose a dataset, filter its rows, split them and look at them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.configurations import Configurations
from ...services.datasets import Datasets
from ...services.housekeeping import Housekeeping
from ...services.uploads import Uploads
from ..browser_state import Memory, with_recent
from ..context import QUIET, user_errors, viewer
from ..form import Form
from ..streaming import all_so_far
from .filters import FiltersPanel
from .loading import LoadPanel
from .report import ReportPanel
from .rows import RowsPanel
from .source import ColumnsPanel, SourcePanel
from .text import columns_sentence, data_sentence, notes_sentence


class DataTab:
    """The tab's contents. ``following`` is the button to the next tab."""

    def __init__(
        self,
        form: Form,
        memory: Memory,
        *,
        configs: Configurations,
        uploads: Uploads,
        datasets: Datasets,
        housekeeping: Housekeeping,
        access: Access,
    ):
        self._configs, self._uploads, self._datasets, self._access = configs, uploads, datasets, access
        self._form, self._memory = form, memory
        gr.Markdown("Pick an instruction dataset. The rows are filtered, shuffled and split exactly as in the lesson.")
        self._source = SourcePanel(
            form, memory, configs=configs, uploads=uploads, housekeeping=housekeeping, access=access
        )
        self._filters = FiltersPanel(form, configs=configs, datasets=datasets, access=access)
        self._columns = ColumnsPanel(form)
        self._load = gr.Button("Load and split", variant="primary", elem_id="data-load")
        self._loading = LoadPanel(datasets=datasets, access=access)
        self._summary = gr.Markdown("Nothing loaded yet: press **Load and split**.", elem_id="data-summary")
        self._unify = gr.Button("Unify line ends", size="sm", visible=False, elem_id="data-unify")
        self.following = gr.Button("Next: Format", elem_id="data-next", size="sm", elem_classes="next")
        self._report = ReportPanel(form, self._filters, configs=configs, datasets=datasets, access=access)
        self._rows = RowsPanel(form, self._filters, configs=configs, datasets=datasets, access=access)
        form.when_complete(self._wire)

    def _wire(self) -> None:
        inputs = self._form.controls | self._rows.inputs | self._filters.inputs | {self._memory.recent}
        parts = (self._filters, self._columns, self._rows, self._loading, self._report)
        shown = [self._summary, self._load, self._unify, self.following, self._memory.recent]
        shown += [output for part in parts for output in part.outputs]
        # The page shows its own progress.
        # Bound once: gradio counts concurrent runs by function identity, and each attribute access makes a new method
        # object.
        show, again = self._show, self._filter_again
        self._load.click(show, inputs, shown, **QUIET)
        self._unify.click(lambda: True, None, self._columns.unify, **QUIET).success(show, inputs, shown, **QUIET)
        self._source.wire(show, inputs, shown)
        self._loading.wire()
        self._filters.file.wire(show, inputs, shown)
        for edited in (*self._filters.wire(), *self._rows.wire()):
            edited.success(again, inputs, shown, trigger_mode="always_last", **QUIET)
        renewed = self._report.wire().success(show, inputs, shown, **QUIET)
        renewed.success(user_errors(self._report.check), self._form.controls, self._report.shown, **QUIET)

    @user_errors
    def _show(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Load and show the rows of the form's settings, with progress."""
        yield from all_so_far(self._load_rows(values, request))

    @user_errors
    def _filter_again(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        """Filter loaded rows again after the list changed; does nothing where the source is not loaded yet."""
        if self._filters.nothing_loaded(values) or not self._is_loaded(values):
            yield {self._summary: gr.skip()}
        else:
            yield from self._show(values, request)

    def _is_loaded(self, values: dict[Any, Any]) -> bool:
        return self._datasets.has_rows(viewer(self._access), self._form.rows(values))

    def _load_rows(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        requested = self._configs.read(viewer(self._access), self._form.rows(values))
        config = yield from self._loading.follow(requested, request)
        if config is None:
            yield {self._summary: "Cancelled: nothing was loaded."}
            return
        summary = self._datasets.summary(viewer(self._access), config)
        columns, proposed = config.data.columns, config != requested
        sentence = data_sentence(summary, self._uploads.display_name(config.data.source))
        yield {
            self._summary: f"{sentence} {columns_sentence(summary, columns, proposed)} {notes_sentence(summary)}",
            self._unify: gr.Button(visible=bool(summary["notes"])),
            # Highlight the next step.
            self._load: gr.Button(variant="secondary"),
            self.following: gr.Button(variant="primary"),
            self._memory.recent: with_recent(values[self._memory.recent], config.data.source),
            **(self._columns.proposed(columns) if proposed else {}),
            **self._filters.show(config.data.filters, summary),
            **self._report.waiting(),
            **self._rows.page(config, values, 1),
        }
