"""The page's own ``gr.Blocks``: how updates are prepared and sent."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import gradio as gr
import gradio.blocks

from ...errors import LabError
from ...pretrained import hub_token
from ..account import token_of
from ..context import PRIVATE, toast

SKIP = gr.skip()
# A server too busy to answer in this time is closed as gradio closes it.
SECONDS_TO_END_STREAMS = 5
# gradio looks for queued events a thousand times a second, and a hundred times for progress, which takes a tenth of a
# core from an idle lab. These are its own intervals for Windows.
SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_PROGRESS = 0.05, 0.1
# After each event gradio summarizes the last 10,000 for its page /monitoring, which the lab does not serve: 50 ms of a
# processor after a hundred events, 105 ms after ten thousand.
EVENTS_BEFORE_SUMMARY, EVENTS_KEPT = sys.maxsize, 1


class PageBlocks(gr.Blocks):
    """``gr.Blocks`` that does no work for skipped outputs, and whose streams lose no update.

    gradio recreates a component, with its configuration, for every ``gr.skip()``. The page's poll has some sixty
    outputs and skips nearly all of them, for every viewer at every poll: that was three quarters of a viewer's cost.

    gradio sends the difference between two items of a stream, and the browser changes the former item in place. It
    may not have drawn that one yet: what the later item leaves out is then never drawn.

    Handlers and the jobs that they submit ask the Hub with the token of who is signed in. A LabError that one of them
    raises, at once or in a stream, is shown as a toast, or is the answer to a script.
    """

    _loop: asyncio.AbstractEventLoop | None = None

    def __exit__(self, *args: Any) -> None:
        """gradio's, without a server."""
        with _no_server():
            super().__exit__(*args)

    def queue(self, *args: Any, **kwargs: Any) -> PageBlocks:
        """gradio's, without a server, looked at less often, and without statistics of its events."""
        with _no_server():
            super().queue(*args, **kwargs)
        self._queue.sleep_when_free = SECONDS_BETWEEN_LOOKS
        self._queue.progress_update_sleep_when_free = SECONDS_BETWEEN_PROGRESS
        self._queue.ANAYLTICS_CACHE_FREQUENCY = EVENTS_BEFORE_SUMMARY
        self._queue.ANALYTICS_MAX_EVENTS = EVENTS_KEPT
        return self

    async def run_extra_startup_events(self) -> None:
        """gradio's, and note the server's event loop."""
        self._loop = asyncio.get_running_loop()
        await super().run_extra_startup_events()

    def close(self, verbose: bool = True) -> None:
        """gradio's, after the visitors' streams were ended on the server's own thread.

        gradio ends them from the closing thread, which fails if a visitor comes or goes at that moment.
        """
        if self._loop is not None and self._loop.is_running():
            ended = asyncio.run_coroutine_threadsafe(self._end_streams(), self._loop)
            concurrent.futures.wait([ended], SECONDS_TO_END_STREAMS)
        super().close(verbose)

    async def _end_streams(self) -> None:
        self.app.stop_event.set()

    async def process_api(self, *args: Any, request: Any = None, **kwargs: Any) -> dict[str, Any]:
        """gradio's, with the visitor's token at hand."""
        with hub_token.acting_for(token_of(request)):
            return await super().process_api(*args, request=request, **kwargs)

    async def call_function(self, block_fn: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """gradio's, with LabErrors as errors that it shows."""
        try:
            return await super().call_function(block_fn, *args, **kwargs)
        except LabError as error:
            of_page = block_fn.api_visibility == PRIVATE["api_visibility"]
            raise toast(error, in_words_of_form=of_page) from error

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """``predictions`` as sent to the browser; ``{"__type__": "update"}`` for a skipped output."""
        if (
            not isinstance(predictions, list | tuple)
            or len(predictions) != len(block_fn.outputs)
            or len(predictions) < 2
        ):
            return await super().postprocess_data(block_fn, predictions, state)
        changed = [at for at, value in enumerate(predictions) if not _skipped(value)]
        # A copy of the handler with fewer outputs; gradio takes a single value without a list.
        fewer = copy.copy(block_fn)
        fewer.outputs = [block_fn.outputs[at] for at in changed]
        values = [predictions[at] for at in changed]
        data = (
            await super().postprocess_data(fewer, values[0] if len(values) == 1 else values, state) if changed else []
        )
        response: list[Any] = [dict(SKIP) for _ in block_fn.outputs]
        for at, value in zip(changed, data, strict=True):
            response[at] = value
        return response

    def handle_streaming_diffs(
        self,
        block_fn: Any,
        data: list[Any],
        session_hash: str | None,
        run: str | None,
        final: bool,
        simple_format: bool = False,
    ) -> list[Any]:
        """``data`` as the next item of a stream: a changed value whole, only a growing text as what is added to it.

        Arguments and result are gradio's; an item after the first consists of edits ``[action, path, value]``.
        """
        former = self.pending_diff_streams.get(session_hash, {}).get(run)
        before = None if former is None else list(former)
        # gradio's own edits would compare a table cell by cell, only to be thrown away.
        item = super().handle_streaming_diffs(block_fn, data, session_hash, run, final, simple_format=True)
        if run is None or before is None or final or simple_format:
            return item
        return [_edits(old, new) for old, new in zip(before, item, strict=True)]


@contextmanager
def _no_server() -> Iterator[None]:
    """Inside, gradio makes no server of the page.

    It makes one when the page is built, another when its queue is set, and a third, the one that serves, at launch:
    each describes the whole page anew, a sixth of the start.
    """
    app = gradio.blocks.App
    gradio.blocks.App = SimpleNamespace(create_app=lambda *args, **kwargs: None)
    try:
        yield
    finally:
        gradio.blocks.App = app


def _skipped(value: Any) -> bool:
    return isinstance(value, dict) and value == SKIP


def _edits(old: Any, new: Any) -> list[Any]:
    """Edits that turn ``old`` into ``new`` and change no item in place."""
    if old == new:
        return []
    if isinstance(old, str) and isinstance(new, str) and new.startswith(old):
        return [["append", [], new[len(old) :]]]
    return [["replace", [], new]]
