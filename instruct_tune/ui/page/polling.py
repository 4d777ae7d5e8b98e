"""One timer feeds all that follows the lab: a viewer costs one poll, not ten."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gradio as gr

from ...lab import Lab
from ..browser_state import Memory
from ..context import polled, recognise, session, viewer
from .pace import USUAL, Pace


class Fed(Protocol):
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
        wanted = self.pace.seconds(session() or "", self.lab.others_at_work(viewer(self.lab)) is not None)
        return [gr.skip() if seconds == wanted else gr.Timer(wanted)]


def feed(lab: Lab, memory: Memory, panels: Sequence[Fed]) -> None:
    """Have a timer bring each panel what is new."""
    interval = Interval(lab)
    # Read once: some are lists made at each look.
    feeds = [(each.show, list(each.inputs), list(each.outputs)) for each in (interval, *panels)]

    def tick(token: Any, *values: Any) -> list[Any]:
        """All feeds in one request."""
        recognise(lab, token)
        told: list[Any] = []
        given = iter(values)
        with lab.glance():
            for show, inputs, outputs in feeds:
                told += polled(show, list(itertools.islice(given, len(inputs))), len(outputs))
        return told

    every_input = [component for _, inputs, _ in feeds for component in inputs]
    every_output = [component for _, _, outputs in feeds for component in outputs]
    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    interval.timer.tick(tick, [memory.token, *every_input], every_output, **quiet)
