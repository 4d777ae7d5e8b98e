"""Progress of a visitor's download: one line, a bar where bytes can be counted, and Cancel."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

import gradio as gr

from ..text.markdown import plain
from ..util.progress import Loading, megabytes
from .context import QUIET

PATIENCE = 0.3
"""Seconds between two updates; a result that is ready sooner shows no progress."""
# Both values are the lab's own numbers, never untrusted text.
_BAR = '<progress aria-label="Downloaded" value="${value.done}" max="${value.total}"></progress>'

Updates = dict[Any, Any]


class FetchProgressPanel:
    """Hidden unless something is loading. ``name`` is the prefix of each part's ``elem_id``."""

    def __init__(self, name: str):
        self._under_way: dict[str | None, Loading] = {}
        with gr.Row(visible=False, elem_classes="pager") as self._all:
            self._phase = gr.Markdown(elem_id=f"{name}-phase")
            bar = {"elem_id": f"{name}-progress", "elem_classes": "arrival"}
            self._bar = gr.HTML({"done": 0, "total": 1}, html_template=_BAR, **bar)
            self._cancel = gr.Button("Cancel", size="sm", elem_id=f"{name}-cancel", min_width=120, scale=0)
        self.outputs: list[Any] = [self._all, self._phase, self._bar]

    def wire(self) -> None:
        """Connect the Cancel button."""
        self._cancel.click(self._stop, None, None, **QUIET)

    def follow(
        self, request: gr.Request, start: Callable[[Loading], Future[Any]]
    ) -> Generator[Updates, None, tuple[bool | None, Any]]:
        """Call ``start`` and yield updates of ``outputs`` until its future is done.

        Returns (True, result), or (False, None) if the visitor cancelled. Leaving the page also cancels, as does
        another load in this panel: then it returns (None, None), and the other shows its own progress. Raises the
        future's exception.
        """
        with self._one_at_a_time(request.session_hash) as loading:
            future = start(loading)
            yield from self._updates_until_done(future, loading)
            if self._under_way.get(request.session_hash) is not loading:
                return None, None
            yield {self._all: gr.Row(visible=False)}
            return (False, None) if loading.stopped else (True, future.result())

    def _stop(self, request: gr.Request) -> None:
        if loading := self._under_way.get(request.session_hash):
            loading.stop()

    def _updates_until_done(self, future: Future[Any], loading: Loading) -> Iterator[Updates]:
        shown = None
        while wait([future], PATIENCE).not_done and not loading.stopped:
            now = (loading_sentence(loading), {"done": loading.done, "total": max(1, loading.total)})
            if now != shown:
                bar = gr.HTML(now[1], visible=bool(loading.total))
                yield {self._all: gr.Row(visible=True), self._phase: now[0], self._bar: bar}
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


def loading_sentence(loading: Loading) -> str:
    """The phase, and how much of a download has arrived."""
    if not loading.total:
        return f"{plain(loading.phase or 'Getting ready')} …"
    return f"{plain(loading.phase)}: {megabytes(loading.done, loading.total, loading.speed)}"
