"""Replay of an ended run on the Train tab's plot, at its original speed or faster.

The browser plays it from the times at which the steps ended: it cuts the chart's curves, and the answers beside
it, at what was known at that moment. The server only sends those times, once.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ..errors import BusyError, NotFoundError
from ..runs.examples import BEST
from ..services.access import Access
from ..services.runs import Runs
from ..services.training import Training
from ..store.run import LIVE
from ..util.curves import thin
from .context import PRIVATE, QUIET, viewer
from .scripted_html import static_text

SPEEDS = {"1×": 1, "10×": 10, "60×": 60}
MAX_MOMENTS = 400

_SET_SPEED = """(chosen) => {
  window.labReplaySpeed = parseInt(chosen);
  if (window.labReplay) { window.labReplay.speed = window.labReplaySpeed; }
}"""
_LINE = """
.replay-line { font-size: var(--text-sm); }
.replay-line progress {
  appearance: none; width: 120px; height: 8px; margin-right: 8px; border: none; accent-color: #2563eb;
}
.replay-line progress::-webkit-progress-bar { background: var(--border-color-primary); border-radius: 4px; }
.replay-line progress::-webkit-progress-value { background: #2563eb; border-radius: 4px; }
"""
_STOP = "() => { window.labReplayStop?.(); }"


class Replay:
    """The replay controls under the loss plot."""

    def __init__(self, shown_run: gr.State, *, runs: Runs, training: Training, access: Access):
        self.runs, self.training, self.access = runs, training, access
        self.shown_run = shown_run
        self.left = gr.State(None)
        with gr.Column() as self.body:
            with gr.Row(equal_height=True, elem_id="replay"):
                again = gr.Button("Replay", size="sm", min_width=110, scale=0, elem_id="replay-start")
                stop = gr.Button("Stop replay", size="sm", min_width=110, scale=0, elem_id="replay-stop")
                speed = gr.Radio(
                    list(SPEEDS), value="10×", show_label=False, container=False, min_width=250, scale=0,
                    elem_id="replay-speed",
                )  # fmt: skip
                self.back = gr.Button(
                    "Back to the run before", size="sm", min_width=170, scale=0, visible=False, elem_id="replay-back"
                )
            self.stage = gr.HTML(
                None,
                html_template='<div class="replay-line"><progress max="1" hidden aria-label="Replay"></progress>'
                '<span class="replay-words"></span></div>',
                css_template=_LINE,
                js_on_load=static_text("replay.js"),
                elem_id="replay-stage",
            )
        again.click(self.begin, shown_run, self.stage, **QUIET)
        self.back.click(
            lambda left: [left, None, gr.Button(visible=False)], self.left, [shown_run, self.left, self.back], **QUIET
        )
        stop.click(None, None, None, js=_STOP, **PRIVATE)
        speed.input(None, speed, None, js=_SET_SPEED, **PRIVATE)

    def offer(self, tabs: gr.Tabs, label: str = "Watch a recorded run", elem_id: str = "replay-offer") -> gr.Button:
        """Add a button, anywhere on the page, that opens a recorded run in Train and replays it."""
        button = gr.Button(label, size="sm", elem_id=elem_id)
        outputs = [self.shown_run, tabs, self.stage, self.left, self.back]
        button.click(self.watch, self.shown_run, outputs, **QUIET)
        return button

    def watch(self, shown: str | None) -> list[Any]:
        """Show and replay a recorded run (``BEST`` if it is there); a button returns to the run that was shown."""
        ids = [run["id"] for run in self.runs.summaries(viewer(self.access)) if run["recorded"]]
        if not ids:
            raise NotFoundError("The recorded runs were deleted in this lab; one that you train can be replayed too.")
        chosen = BEST if BEST in ids else ids[0]
        left = [gr.skip(), gr.skip()] if shown in (None, *ids) else [shown, gr.Button(visible=True)]
        return [chosen, gr.Tabs(selected="Train"), self.begin(chosen), *left]

    def begin(self, run_id: str | None) -> dict[str, Any]:
        """The data that the browser needs to replay a run."""
        if not run_id or not self.runs.is_visible(viewer(self.access), run_id):
            raise NotFoundError("There is no run to replay: train one, or watch a recorded one.")
        status = self.training.status(viewer(self.access), run_id)
        if status["status"] in LIVE:
            raise BusyError("This run is at work: its plot is live. It can be replayed when it has ended.")
        steps = moments(self.runs.metrics(viewer(self.access), run_id))
        if not steps or not steps[-1][1]:
            raise NotFoundError("This run ended before its first step: there is nothing to replay.")
        # Where and when it was recorded is shown above the plot.
        note = " · recorded" if status["recorded"] else ""
        return {
            "run": run_id,
            "moments": thin(steps, MAX_MOMENTS),
            "total": steps[-1][1],
            "speed": SPEEDS["10×"],
            "note": note,
            # New at each click, so that a second click plays again and reopening the tab does not.
            "turn": time.time(),
        }


def moments(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """(step, seconds from the start to the step's last metric), by step.

    The pause before a resume is cut: a gap counts at most ten times the median gap (at least 1 s).
    """
    if not metrics:
        return []
    first = metrics[0]["time"] - metrics[0].get("seconds", 0.0)
    ends: dict[int, float] = {}
    last = 0
    for metric in metrics:
        # What a run that begins as base measures of step 0 comes after the first step.
        last = max(last, metric["step"])
        ends.setdefault(metric["step"], first)
        ends[last] = max(metric["time"], ends.get(last, first))
    times = [first, *(ends[step] for step in sorted(ends))]
    gaps = [max(0.0, later - earlier) for earlier, later in itertools.pairwise(times)]
    longest = max(10 * statistics.median(gaps), 1.0)
    passed = itertools.accumulate(min(gap, longest) for gap in gaps)
    return [(step, round(seconds, 3)) for step, seconds in zip(sorted(ends), passed, strict=True)]
