"""The notice shown while somebody else's run keeps the lab busy: the visitor's place, and a recorded run to watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.training import Training
from ..context import viewer
from ..replay import Replay

_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}


class BusyNotice:
    """A line under the status bar, visible only while the lab works for somebody else; updated by the page's timer.

    ``welcome`` is the page's usual button for a recorded run, hidden while this notice shows its own.
    """

    def __init__(self, *, training: Training, access: Access):
        self.training, self.access = training, access
        self.seen = gr.State("")
        self.inputs = [self.seen]
        with gr.Row(visible=False, elem_id="meanwhile", elem_classes="callout") as self.row:
            self.words = gr.Markdown("", elem_id="meanwhile-words")
            with gr.Column(scale=0, min_width=220) as self.place:
                pass

    def offer(self, replay: Replay, tabs: gr.Tabs, welcome: gr.Button) -> None:
        """Add the button; called once the Train tab has made the replay that it starts."""
        self.welcome = welcome
        with self.place:
            replay.offer(tabs, elem_id="meanwhile-offer")

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.words, self.row, self.welcome]

    def show(self, seen: str) -> list[Any]:
        """The text, if it has changed since ``seen``."""
        others = self.training.others_at_work(viewer(self.access))
        now = words(others) if others else ""
        if now == seen:
            return [gr.skip()] * len(self.outputs)
        return [now, now, gr.Row(visible=bool(now)), gr.Button(visible=not now)]


def words(others: Mapping[str, Any]) -> str:
    """What somebody else runs, and the visitor's place: of their queued job, or of one that they would start now."""
    nth = "next" if others["place"] == 1 else f"{_ORDINALS.get(others['place'], str(others['place']) + 'th')} in line"
    when = _in_minutes(others["starts_in_seconds"])
    yours = f"you are {nth}{when}" if others["waiting"] else f"yours would be {nth}{when}"
    return f"**Someone else's {others['kind']} is at work; {yours}.** Meanwhile:"


def _in_minutes(seconds: float | None) -> str:
    """Rounded to minutes, so that the line does not change every second."""
    if seconds is None:
        return ""
    minutes = max(1, round(seconds / 60))
    return f", in about {minutes} min" if minutes < 90 else f", in about {round(minutes / 60)} h"
