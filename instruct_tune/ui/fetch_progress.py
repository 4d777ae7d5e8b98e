"""Something on its way to this visitor: one line, a bar where bytes can be counted, and Cancel."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

import gradio as gr

from ..text.markdown import plain
from ..util.progress import Loading, megabytes

PATIENCE = 0.3
"""Seconds between two looks; what is there sooner is shown without any of this."""
# Both are numbers of ours, never text of somebody else.
_BAR = '<progress aria-label="Downloaded" value="${value.done}" max="${value.total}"></progress>'

Updates = dict[Any, Any]


class FetchProgressPanel:
    """Hidden unless something is under way. ``name`` begins the ``elem_id`` of each part."""

    def __init__(self, name: str):
        self._under_way: dict[str | None, Loading] = {}
        with gr.Row(visible=False, elem_classes="pager") as self._all:
            self._phase = gr.Markdown(elem_id=f"{name}-phase")
            bar = {"elem_id": f"{name}-progress", "elem_classes": "arrival"}
            self._bar = gr.HTML({"done": 0, "total": 1}, html_template=_BAR, **bar)
            self._cancel = gr.Button("Cancel", size="sm", elem_id=f"{name}-cancel", min_width=120, scale=0)
        self.outputs: list[Any] = [self._all, self._phase, self._bar]

    def wire(self) -> None:
        """Connect the button."""
        self._cancel.click(self._stop, None, None, api_visibility="private", show_progress="hidden")

    def follow(
        self, request: gr.Request, start: Callable[[Loading], Future[Any]]
    ) -> Generator[Updates, None, tuple[bool, Any]]:
        """``start`` something, yielding what to show until it is there.

        Returns whether it came, and its result; (False, None) where the visitor cancelled. A visitor who leaves, or
        starts something else here, cancels too. Raises what the future raises.
        """
        with self._one_at_a_time(request.session_hash) as loading:
            arriving = start(loading)
            yield from self._until_there(arriving, loading)
            yield {self._all: gr.Row(visible=False)}
            return (False, None) if loading.stopped else (True, arriving.result())

    def _stop(self, request: gr.Request) -> None:
        if loading := self._under_way.get(request.session_hash):
            loading.stop()

    def _until_there(self, arriving: Future[Any], loading: Loading) -> Iterator[Updates]:
        shown = None
        while wait([arriving], PATIENCE).not_done and not loading.stopped:
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
    """What is being done, and how far a download is."""
    if not loading.total:
        return f"{plain(loading.phase or 'Getting ready')} …"
    return f"{plain(loading.phase)}: {megabytes(loading.done, loading.total, loading.speed)}"
