"""What follows a run on the Train tab: where it stands, the loss as it is drawn, the last events in words."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..lab import Lab
from . import view
from .charts import loss_chart, loss_figure
from .replay import Replay


class TrainPanel:
    """The part of the tab that follows a run; it is fed by the page's timer and by page load."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.shown_run = gr.State(None)
        self.seen = gr.State(None)
        self.status = gr.Markdown("No run yet: press **Start**.", elem_id="train-status")
        self.bar = gr.HTML(
            {"value": 0, "max": 1},
            html_template='<progress aria-label="Progress" value="${value.value}" max="${value.max}"></progress>',
            elem_id="train-progress",
        )
        self.log_scale = gr.Checkbox(False, label="Logarithmic loss axis", elem_id="train-log")
        self.chart = loss_chart("train-chart")
        self.replay = Replay(lab, self.shown_run)
        gr.Markdown(
            "The bold line is the loss on held-out rows: watch that one. The dots are single batches; on a short run "
            "they may rise while the model learns, because some batches are harder than others."
        )
        self.events = gr.Textbox(label="Events, newest first", lines=6, max_lines=12, interactive=False)

    @property
    def outputs(self) -> list[Any]:
        return [self.seen, self.status, self.bar, self.chart, self.events]

    def show(self, run_id: str | None, seen: Any, log_scale: bool) -> list[Any]:
        """What changed since ``seen``; nothing at all is sent where nothing did."""
        if run_id is None or not self.lab.store.has(run_id):
            return [gr.skip()] * len(self.outputs)
        told = self.lab.run_status(run_id)
        last = max((metric["seq"] for metric in told["metrics"].values()), default=0)
        events = self.lab.store.events(run_id, last=12)
        now = [run_id, log_scale, last, told["status"], told["phase"], told["step"], events[-1:] and events[-1]["time"]]
        if now == seen:
            return [gr.skip()] * len(self.outputs)
        redraw = seen is None or now[:3] != seen[:3]
        return [
            now,
            view.run_sentence(told),
            {"value": told["step"], "max": max(told["total_steps"], 1)},
            loss_figure(self.lab.run_metrics(run_id), run_id, log_scale) if redraw else gr.skip(),
            view.events_text(events),
        ]
