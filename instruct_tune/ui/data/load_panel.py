"""A dataset on its way to this visitor: what is being done, how much has come, the first rows, a way to cancel it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

import gradio as gr

from ...fetching.loading import Loading
from ...lab import Lab
from ...looking.first_rows import FirstRows, first_rows
from ...settings import RunConfig
from ..edge import viewer
from .data_words import first_rows_sentence, loading_sentence, text_rows

PATIENCE = 0.3
"""Seconds between two looks; what is there sooner is shown without any of this."""
# Both are numbers of ours, never text of somebody else.
_BAR = '<progress aria-label="Downloaded" value="${value.done}" max="${value.total}"></progress>'

Updates = dict[Any, Any]


class LoadPanel:
    """One line, a bar where bytes can be counted, and Cancel; hidden unless something is under way."""

    def __init__(self, lab: Lab):
        self._lab = lab
        self._under_way: dict[str | None, Loading] = {}
        with gr.Row(visible=False, elem_classes="pager") as self._all:
            self._phase = gr.Markdown(elem_id="data-phase")
            self._bar = gr.HTML({"done": 0, "total": 1}, html_template=_BAR, elem_id="data-progress")
            self._cancel = gr.Button("Cancel", size="sm", elem_id="data-cancel", min_width=120, scale=0)
        with gr.Column(visible=False, elem_id="data-first") as self._early:
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
        self.outputs: list[Any] = [self._all, self._phase, self._bar, self._early, self._estimate, self._first]

    def wire(self) -> None:
        """Connect the button."""
        self._cancel.click(self._stop, None, None, api_visibility="private", show_progress="hidden")

    def _stop(self, request: gr.Request) -> None:
        if loading := self._under_way.get(request.session_hash):
            loading.stop()

    def follow(self, asked: RunConfig, request: gr.Request) -> Generator[Updates, None, RunConfig | None]:
        """Load what is asked for, yielding what to show meanwhile.

        Returns the configuration whose rows are there (its columns may be proposed ones), or None
        where the visitor cancelled. A visitor who leaves, or asks for something else, cancels too.
        """
        with self._one_at_a_time(request.session_hash) as loading:
            known = self._lab.rows_at_hand(asked, viewer(self._lab))
            # Before the thread that reads the rest takes its share of the processor.
            early = None if known else first_rows(asked.data)
            if early:
                yield self._show(early)
            arriving = self._lab.start_loading(asked, loading, viewer(self._lab))
            yield from self._until_there(arriving, loading)
            yield {self._all: gr.Row(visible=False), self._early: gr.Column(visible=False)}
            return None if loading.stopped else arriving.result()

    def _show(self, early: FirstRows) -> Updates:
        return {
            self._early: gr.Column(visible=True),
            self._estimate: first_rows_sentence(early),
            self._first: text_rows(early.rows),
        }

    def _until_there(self, arriving: Any, loading: Loading) -> Iterator[Updates]:
        shown = None
        while wait([arriving], PATIENCE).not_done and not loading.stopped:
            now = (loading_sentence(loading), {"done": loading.done, "total": max(1, loading.total)})
            if now != shown:
                counted = bool(loading.total)
                yield {
                    self._all: gr.Row(visible=True),
                    self._phase: now[0],
                    self._bar: gr.HTML(now[1], visible=counted),
                }
                shown = now

    @contextmanager
    def _one_at_a_time(self, visitor: str | None) -> Iterator[Loading]:
        loading = Loading()
        if earlier := self._under_way.get(visitor):
            earlier.stop()
        self._under_way[visitor] = loading
        try:
            yield loading
        finally:
            loading.stop()
            if self._under_way.get(visitor) is loading:
                del self._under_way[visitor]
