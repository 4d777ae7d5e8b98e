"""One timer feeds all that follows the lab: a viewer costs one poll, not ten."""

from __future__ import annotations

import copy
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gradio as gr
from gradio.blocks import Block

from ...lab import Lab
from ..browser_state import Memory
from ..context import identify_viewer, polled, session, viewer

USUAL = 1.0
"""Seconds between two polls of one page."""
POLLS_PER_SECOND = 2.5
"""What all watchers together may ask: with twenty, a run on two cores is some 2% slower (``benchmarks viewers``)."""
STEPS = (USUAL, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)
"""A few intervals instead of any, so that a page's timer is not set anew for each one that comes or goes."""
GONE_AFTER = 2.5 * STEPS[-1]
"""Seconds without a poll after which a page is taken for closed, or for hidden: browsers stop its timer."""


class Pace:
    """Which pages watch, and so how often each should ask."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def seconds(self, session: str, watching: bool, now: float | None = None) -> float:
        """The interval for the page of ``session`` from now on.

        ``watching``: the lab works for somebody else. ``now``: seconds of a clock that only goes forward.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            if not watching:
                self._last.pop(session, None)
                return USUAL
            self._last[session] = now
            self._last = {page: last for page, last in self._last.items() if now - last < GONE_AFTER}
            wanted = len(self._last) / POLLS_PER_SECOND
        return next((step for step in STEPS if step >= wanted), STEPS[-1])


class PolledPanel(Protocol):
    """What knows by itself what the timer has to bring it: ``show(*inputs)`` fills ``outputs``."""

    @property
    def inputs(self) -> list[Any]: ...
    @property
    def outputs(self) -> list[Any]: ...
    @property
    def show(self) -> Callable[..., list[Any]]: ...


class Interval:
    """In how many seconds the page asks the next time; fed by the timer that it sets."""

    def __init__(self, lab: Lab):
        self.lab, self.pace, self.timer = lab, Pace(), gr.Timer(USUAL)
        self.inputs = self.outputs = [self.timer]

    def show(self, seconds: Any) -> list[Any]:
        """The timer, where the interval is another than before."""
        wanted = self.pace.seconds(session() or "", self.lab.training.others_at_work(viewer(self.lab)) is not None)
        return [gr.skip() if seconds == wanted else gr.Timer(wanted)]


def feed(lab: Lab, memory: Memory, panels: Sequence[PolledPanel]) -> None:
    """Have a timer bring each panel what is new."""
    interval = Interval(lab)
    # Read once: some are lists made at each look.
    feeds = [(each.show, list(each.inputs), list(each.outputs)) for each in (interval, *panels)]

    def tick(token: Any, *values: Any) -> list[Any]:
        """All feeds in one request."""
        identify_viewer(lab, token)
        told: list[Any] = []
        given = iter(values)
        with lab.runs.read_cache():
            for show, inputs, outputs in feeds:
                told += polled(show, list(itertools.islice(given, len(inputs))), len(outputs))
        return told

    every_input = [component for _, inputs, _ in feeds for component in inputs]
    every_output = [component for _, _, outputs in feeds for component in outputs]
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    interval.timer.tick(tick, [memory.token, *every_input], every_output, **quiet)


SKIP = gr.skip()


def hide_progress_on(page: gr.Blocks, on: Block) -> None:
    """Let events that show no progress tell it to ``on`` alone, which hides it too.

    A browser keeps the progress of every component that was ever an output, and with each request,
    such as a poll, twice looks for each of them in the whole page: that was two thirds of what a
    page that is merely open cost its visitor.
    """
    for event in page.fns.values():
        if event.show_progress == "hidden" and event.outputs:
            event.show_progress_on = [on]


class SkippingBlocks(gr.Blocks):
    """Answers what ``gr.Blocks`` answers, without the work for outputs that stay as they are.

    For every ``gr.skip()`` gradio makes the component anew, with its configuration. The page's poll
    has some sixty outputs and skips nearly all of them for every viewer at every second: that was
    three quarters of what a viewer cost.
    """

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """``predictions`` as the browser gets them; ``{"__type__": "update"}`` where nothing changes."""
        if (
            not isinstance(predictions, list | tuple)
            or len(predictions) != len(block_fn.outputs)
            or len(predictions) < 2
        ):
            return await super().postprocess_data(block_fn, predictions, state)
        changed = [at for at, given in enumerate(predictions) if not _skipped(given)]
        # A handler of its own kind with fewer outputs; gradio takes a single one without a list.
        fewer = copy.copy(block_fn)
        fewer.outputs = [block_fn.outputs[at] for at in changed]
        given = [predictions[at] for at in changed]
        told = await super().postprocess_data(fewer, given[0] if len(given) == 1 else given, state) if changed else []
        answer: list[Any] = [None if block.stateful else dict(SKIP) for block in block_fn.outputs]
        for at, each in zip(changed, told, strict=True):
            answer[at] = each
        return answer


def _skipped(given: Any) -> bool:
    return isinstance(given, dict) and given == SKIP


class IdleFlag:
    """``now``: whether nothing is at work. Fed by the page's timer."""

    def __init__(self, lab: Lab):
        self.lab = lab
        # No gr.State: gradio tells nobody that one changed where the queue is passed by.
        self.now = gr.Checkbox(True, container=False, elem_id="at-rest", elem_classes="unseen")

    @property
    def inputs(self) -> list[Any]:
        return [self.now]

    @property
    def outputs(self) -> list[Any]:
        return [self.now]

    def show(self, seen: bool) -> list[Any]:
        """What is so now, where it was not so before."""
        now = self.lab.training.busy_with(viewer(self.lab)) is None
        return [gr.skip() if now == seen else now]
