"""The shown run on the Train tab: its status, live loss plot, and the model's answers at its probes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.evaluations import Evaluations
from ...services.runs import Runs
from ...services.training import Training
from ...services.transfers import Transfers
from ...services.types import RunStatus
from ...store.run import Run
from ...text.markdown import plain
from .. import run_text
from ..charts import LOSS_CHART, loss_figure
from ..context import polled, viewer
from ..device_choice import DeviceChoice
from ..downloads import save_buttons
from ..replay import Replay
from .run_controls import Piece, RunControls
from .scrubber import scrubber, scrubber_value

EVENTS_SHOWN = 40
CAPTION = (
    "The bold line is the loss on held-out rows (a dotted one, where only evaluations measure it): watch that one. The "
    "thin line is the training loss; on a short run it may rise while the model learns, because some batches are "
    "harder than others. A click in the legend shows the pale ones too."
)
GONE = "That run was deleted or is not shared any more. **Start** trains another; *Runs* opens one."
NO_RUN = "No run yet. **Start** trains one; its loss is drawn here, live, with what the model answers as it learns."
# How much of an evaluation within a step is done is in the status line above it.
_BAR = '<progress aria-label="Steps done" value="${value.value}" max="${value.max}"></progress>'


class TrainPanel:
    """The part of the tab about the shown run; updated by the page's timer and at page load."""

    def __init__(
        self,
        device: DeviceChoice,
        *,
        runs: Runs,
        training: Training,
        evaluations: Evaluations,
        transfers: Transfers,
        access: Access,
    ):
        self.runs, self.training, self.access = runs, training, access
        self.evaluations, self.transfers = evaluations, transfers
        self.shown_run = gr.State(None)
        self.seen = gr.State(None)
        with gr.Row(elem_id="train-run"):
            self.status = gr.Markdown(NO_RUN, elem_id="train-status")
            self.controls = RunControls(device, runs=runs, training=training, access=access)
        with gr.Column(visible=False, elem_id="train-shown") as self.body:
            self.controls.confirmation()
            self.bar = gr.HTML(
                {"value": 0, "max": 1},
                html_template=_BAR,
                padding=False,
                visible=False,
                elem_id="train-progress",
            )
            # Above the plot, whose thin line a newcomer takes for the result.
            self.verdict = gr.Markdown("", elem_id="train-verdict")
            with gr.Tabs(elem_id="train-views"):
                with gr.Tab("Curve", id="Curve"):
                    self._curve()
                with gr.Tab("Events"):
                    self.events = gr.Textbox(
                        label="Events, newest first", lines=20, max_lines=24, interactive=False, elem_id="train-events"
                    )
                with gr.Tab("Configuration"):
                    self.difference = gr.Markdown("", elem_id="train-difference")
                    self.config = gr.Code(
                        language="json", show_label=False, max_lines=30, interactive=False, elem_id="train-config"
                    )
        self.controls.wire(self.shown_run, self.show, self.inputs, self.outputs)

    def _curve(self) -> None:
        self.chart = LOSS_CHART.component("train-chart")
        self.scrubber = scrubber("train-scrubber")
        self.findings = gr.Markdown("", elem_id="train-findings")
        self.checkpoints = gr.Markdown("", elem_id="train-checkpoints")
        with gr.Row(elem_classes="bar"):
            self.replay = Replay(self.shown_run, runs=self.runs, training=self.training, access=self.access)
            self.log_scale = gr.Checkbox(False, label="Logarithmic loss axis", elem_id="train-log", container=False)
        save_buttons("train-save", "loss", [self.shown_run], self._save)
        self.loss = gr.Markdown("", elem_id="train-loss", elem_classes="note")
        gr.Markdown(CAPTION, elem_id="train-caption", elem_classes="note")

    def _save(self, run_id: str | None, to: Path) -> Path:
        return self.transfers.plot_losses(viewer(self.access), str(run_id), to)

    @property
    def inputs(self) -> list[Any]:
        return [self.shown_run, self.seen, self.log_scale]

    @property
    def outputs(self) -> list[Any]:
        return [
            self.seen,
            self.body,
            *self.controls.outputs,
            self.replay.body,
            self.status,
            self.verdict,
            self.bar,
            self.chart,
            self.findings,
            self.loss,
            self.scrubber,
            self.checkpoints,
            self.difference,
            self.config,
            self.events,
        ]

    def follow(self, *inputs: Any) -> list[Any]:
        """``show`` between two polls, for an event that has no toast to show an error in."""
        return polled(self.show, list(inputs), len(self.outputs))

    def show(self, run_id: str | None, seen: Any, log_scale: bool) -> list[Any]:
        """Updates of the components whose key changed since ``seen``; skips all outputs where none did."""
        user = viewer(self.access)
        if run_id is None or not self.runs.is_visible(user, run_id):
            return self._show_missing(run_id, seen)
        status, run = self.training.status(user, run_id), self.runs.get(user, run_id)
        pieces = self._pieces(run_id, log_scale, status, run)
        now = [run_id, *(key for key, _ in pieces.values())]
        if now == seen:
            return [gr.skip()] * len(self.outputs)
        same_run = seen is not None and seen[0] == run_id
        updates = {self.seen: now}
        for place, (component, (key, make)) in enumerate(pieces.items(), 1):
            updates[component] = gr.skip() if same_run and seen[place] == key else make()
        return [updates[component] for component in self.outputs]

    def _pieces(self, run_id: str, log_scale: bool, status: RunStatus, run: Run) -> dict[Any, Piece]:
        """Each component with its key; all are built again when another run is shown."""
        user, findings = viewer(self.access), status["findings"]
        events = self.runs.events(user, run_id, EVENTS_SHOWN)
        answered = [sample["time"] for sample in self.runs.samples(user, run_id)[-1:]]
        last = max((metric["seq"] for metric in status["metrics"].values()), default=0)

        @functools.cache
        def figure() -> dict[str, Any]:
            # An ended run is shown whole: it may have ended early.
            steps = status["total_steps"] if run.live else 0
            metrics = self.runs.metrics(user, run_id)
            return loss_figure(metrics, run_id, log_scale, findings, run.provenance, steps)

        def verdict() -> str:
            # The findings come with their evidence; the verdict's one sentence is for runs without findings.
            if run.live or findings:
                return ""
            return run_text.verdict_text(self.evaluations.interpretation(user, run_id))

        def scrubbed() -> Any:
            probes = bool(run.config["train"].get("probes", True))
            scrub = self.runs.scrub(user, run_id)
            return scrubber_value(run_id, run.live, status["total_steps"], probes=probes, scrub=scrub)

        def bar() -> gr.HTML:
            return gr.HTML({"value": status["step"], "max": max(status["total_steps"], 1)}, visible=run.live)

        sentence, steps = run_text.run_sentence(status), [status["step"], status["total_steps"], run.live]
        return {
            self.body: (None, lambda: gr.Column(visible=True)),
            **dict(zip(self.controls.outputs, self.controls.pieces(run), strict=True)),
            self.replay.body: (run.live, lambda: gr.Column(visible=not run.live)),
            self.status: ([run.name, sentence], lambda: f"**{plain(run.name)}**: {sentence}"),
            self.verdict: ([status["status"], bool(findings)], verdict),
            self.bar: (steps, bar),
            self.chart: ([last, log_scale, findings, *steps[1:]], figure),
            self.findings: (findings, lambda: run_text.findings_text(findings)),
            self.loss: (last, lambda: figure()["description"]),
            self.scrubber: ([last, *steps[1:], answered], scrubbed),
            self.checkpoints: (status["checkpoints"], lambda: run_text.checkpoint_sentence(status["checkpoints"])),
            self.difference: (None, lambda: run_text.configuration_sentence(self.runs.readable_config(user, run_id))),
            self.config: (None, lambda: json.dumps(self.runs.readable_config(user, run_id), indent=2)),
            self.events: (events[-1:], lambda: run_text.events_text(events, last=EVENTS_SHOWN)),
        }

    def _show_missing(self, run_id: str | None, seen: Any) -> list[Any]:
        """Updates without a visible run: none, except once when the run that this window showed is gone."""
        updates = dict.fromkeys(self.outputs, gr.skip())
        if run_id is not None and seen is not None and seen[0] == run_id:
            updates |= {self.seen: None, self.body: gr.Column(visible=False), self.status: GONE}
        return list(updates.values())
