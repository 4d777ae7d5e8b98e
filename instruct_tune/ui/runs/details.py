"""What the lab knows of the chosen run: its curve, what happened to it, what it was configured and measured with."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from ...errors import NotFoundError
from ...lab import Lab
from .. import run_text
from ..charts import loss_chart, loss_figure
from ..context import viewer


class ChosenRun:
    """A plot and two folds; filled when a row is chosen, emptied when its run is deleted."""

    def __init__(self, lab: Lab):
        self.lab = lab
        with gr.Column(visible=False) as self.drawing:
            self.plot = loss_chart("runs-plot")

    def folds(self) -> None:
        """What stands further down the tab."""
        with gr.Accordion("What happened", open=False, elem_id="runs-happened"):
            self.failed = gr.Markdown("", elem_id="runs-failed")
            self.changes = gr.Textbox(
                label="Every change of state, newest first",
                lines=6,
                max_lines=12,
                interactive=False,
                elem_id="runs-changes",
                elem_classes="mono",
            )
            with gr.Accordion("Traceback", open=False, visible=False, elem_id="runs-traceback") as self.traceback:
                self.trace = gr.Textbox(show_label=False, max_lines=30, interactive=False, elem_classes="mono")
        with gr.Accordion("Configuration and what it was measured with", open=False):
            self.config = gr.Code(language="json", label="Configuration", interactive=False)
            self.facts = gr.Code(language="json", label="Facts", interactive=False)

    @property
    def outputs(self) -> list[Any]:
        drawn, happened = [self.plot, self.drawing], [self.failed, self.changes, self.traceback, self.trace]
        return [self.config, self.facts, *drawn, *happened]

    def show(self, run_id: str) -> list[Any]:
        """All that is told of the run."""
        told, trace = self.lab.show_run(run_id, viewer(self.lab)), self.lab.run_traceback(run_id, viewer(self.lab))
        figure = None
        if told["metrics"]:
            figure = loss_figure(told["metrics"], told["id"], log_scale=False, findings=told["findings"])
        return [
            json.dumps(told["config"], indent=2),
            json.dumps(told["facts"], indent=2),
            figure,
            gr.Column(visible=figure is not None),
            run_text.failure_sentence(told),
            run_text.changes_text(told["changes"]),
            gr.Accordion(visible=trace is not None),
            trace or "",
        ]

    def emptied(self) -> list[Any]:
        """Nothing of any run."""
        return ["", "", None, gr.Column(visible=False), "", "", gr.Accordion(visible=False), ""]


def required(run_id: str | None) -> str:
    """The chosen run's id. Raises NotFoundError where none is chosen."""
    if not run_id:
        raise NotFoundError("Choose a run first: click its row.")
    return run_id
