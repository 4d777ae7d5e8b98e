"""Loading a dataset for one visitor: progress, a preview of the first rows, and Cancel."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import gradio as gr

from ...config.run_config import RunConfig
from ...data.preview import FirstRows, first_rows
from ...services.access import Access
from ...services.datasets import Datasets
from ..context import viewer
from ..fetch_progress import FetchProgressPanel, Updates
from .text import first_rows_sentence, text_rows


class LoadPanel:
    """The progress of a load, and below it the first rows of a file; hidden unless a load is running."""

    def __init__(self, *, datasets: Datasets, access: Access):
        self._datasets, self._access = datasets, access
        self._progress = FetchProgressPanel("data")
        with gr.Column(visible=False, elem_id="data-first") as self._preview:
            self._estimate = gr.Markdown(elem_id="data-first-said")
            self._first = gr.Dataframe(
                headers=["instruction", "input", "output"],
                datatype=["str", "str", "str"],
                interactive=False,
                wrap=True,
                max_height=420,
                column_widths=["36%", "22%", "42%"],
                label="First rows of the file",
            )
        self.outputs: list[Any] = [*self._progress.outputs, self._preview, self._estimate, self._first]

    def wire(self) -> None:
        """Connect the Cancel button."""
        self._progress.wire()

    def follow(
        self, requested: RunConfig, request: gr.Request
    ) -> Generator[Updates, None, tuple[bool | None, RunConfig | None]]:
        """Load the rows of the configuration ``requested``; yield updates for the page meanwhile.

        Returns (True, the configuration whose rows are loaded), whose columns may be proposed ones; (False, None)
        where the visitor cancelled or left the page; (None, None) where another load took this one's place.
        """
        requester = viewer(self._access)
        loaded = self._datasets.has_rows(requester, requested)
        # The preview comes first: afterwards the thread that reads the whole file competes for the CPU.
        preview = None if loaded else first_rows(requested.data)
        if preview:
            yield self._show(preview)
        completed, config = yield from self._progress.follow(
            request, lambda loading: self._datasets.start_loading(requester, requested, loading)
        )
        if completed is not None:
            yield self.hidden()
        return completed, config

    def hidden(self) -> Updates:
        """The updates that hide the first rows."""
        return {self._preview: gr.Column(visible=False)}

    def _show(self, preview: FirstRows) -> Updates:
        return {
            self._preview: gr.Column(visible=True),
            self._estimate: first_rows_sentence(preview),
            self._first: text_rows(preview.rows),
        }
