"""One timer updates every panel that follows the lab: a viewer costs one poll, not ten."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gradio as gr
from gradio.blocks import Block

from ...services.access import Access
from ...services.runs import Runs
from ...services.training import Training
from ..browser_state import Memory
from ..context import QUIET, identify_viewer, polled, session, viewer

USUAL = 1.0
"""Seconds between two polls of one page."""
IDLE = 2.0
"""The same while the lab does nothing. A browser's work for a poll is gradio's own, whatever the poll brings."""
POLLS_PER_SECOND = 2.5
"""Most polls of all watching pages: with twenty, a run on two cores is some 2% slower (``benchmarks viewers``)."""
STEPS = (USUAL, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)
"""The possible intervals: a few, so that a page's timer is not reset for every page that opens or closes."""
GONE_AFTER = 2.5 * STEPS[-1]
"""Seconds without a poll after which a page counts as closed, or as hidden: browsers stop a hidden page's timer."""


class Pace:
    """How often each page should poll, from the number of pages that watch."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def seconds(self, session: str, watching: bool, idle: bool = False, now: float | None = None) -> float:
        """The page's poll interval from now on, in seconds.

        ``watching``: the lab works for somebody else. ``idle``: it works for nobody. ``now``: seconds of a clock that
        only goes forward.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            if not watching:
                self._last.pop(session, None)
                return IDLE if idle else USUAL
            self._last[session] = now
            self._last = {page: last for page, last in self._last.items() if now - last < GONE_AFTER}
            needed = len(self._last) / POLLS_PER_SECOND
        return next((step for step in STEPS if step >= needed), STEPS[-1])


class PolledPanel(Protocol):
    """A panel that the timer updates: ``show(*inputs)`` returns the values of ``outputs``."""

    @property
    def inputs(self) -> list[Any]: ...
    @property
    def outputs(self) -> list[Any]: ...
    @property
    def show(self) -> Callable[..., list[Any]]: ...


class Interval:
    """The page's poll interval; updated by the timer that it sets."""

    def __init__(self, *, training: Training, access: Access):
        self.training, self.access = training, access
        self.pace, self.timer = Pace(), gr.Timer(USUAL)
        self.inputs = self.outputs = [self.timer]

    def show(self, seconds: Any) -> list[Any]:
        """The timer, if its interval changes."""
        user = viewer(self.access)
        watching, idle = self.training.others_at_work(user) is not None, self.training.busy_with(user) is None
        interval = self.pace.seconds(session() or "", watching, idle)
        return [gr.skip() if seconds == interval else gr.Timer(interval)]


def feed(
    memory: Memory,
    panels: Sequence[PolledPanel],
    *,
    runs: Runs,
    training: Training,
    access: Access,
    drawn: Callable[[], None],
) -> None:
    """Update all panels by one timer, in one request a poll. ``drawn`` is called at each: a page polls once it is."""
    interval = Interval(training=training, access=access)
    # Read once: some are properties that build a new list at each access.
    feeds = [(panel.show, list(panel.inputs), list(panel.outputs)) for panel in (interval, *panels)]

    def tick(token: Any, *values: Any) -> list[Any]:
        """The updates of all panels."""
        identify_viewer(access, token)
        drawn()
        updates: list[Any] = []
        remaining = iter(values)
        with runs.read_cache():
            for show, inputs, outputs in feeds:
                updates += polled(show, list(itertools.islice(remaining, len(inputs))), len(outputs))
        return updates

    every_input = [component for _, inputs, _ in feeds for component in inputs]
    every_output = [component for _, _, outputs in feeds for component in outputs]
    interval.timer.tick(tick, [memory.token, *every_input], every_output, queue=False, **QUIET)


def hide_progress_on(page: gr.Blocks, on: Block) -> None:
    """Report the progress of events that show none to ``on`` alone, which is not drawn: on what is drawn, each request
    has the browser lay the page out anew.

    A browser keeps the progress of every component that was ever an output, and searches the whole page for each of
    them twice with each request, such as a poll: that was two thirds of what an open, idle page cost its visitor.
    """
    for event in page.fns.values():
        if event.show_progress == "hidden" and event.outputs:
            event.show_progress_on = [on]


class IdleFlag:
    """``now``: a checkbox that is on while the lab is idle. Updated by the page's timer."""

    def __init__(self, *, training: Training, access: Access):
        self.training, self.access = training, access
        # Not a gr.State: gradio fires no change event for one that is set outside its queue.
        self.now = gr.Checkbox(True, container=False, elem_id="at-rest", elem_classes="unseen")

    @property
    def inputs(self) -> list[Any]:
        return [self.now]

    @property
    def outputs(self) -> list[Any]:
        return [self.now]

    def show(self, seen: bool) -> list[Any]:
        """Whether the lab is idle now, if that has changed."""
        now = self.training.busy_with(viewer(self.access)) is None
        return [gr.skip() if now == seen else now]
