"""The shown run on the Train tab: its controls, status, live loss plot, and the model's answers at its probes."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ...services.access import Access
from ...services.evaluations import Evaluations
from ...services.runs import Runs
from ...services.training import Training
from ...services.transfers import Transfers
from ...store.run import Run
from ...text.markdown import plain
from .. import run_text
from ..charts import LOSS_CHART, loss_figure
from ..context import QUIET, polled, viewer
from ..device_choice import CPU, DeviceChoice
from ..downloads import save_buttons
from ..replay import Replay
from .scrubber import scrubber, scrubber_value

Piece = tuple[Any, Callable[[], Any]]
"""(key, build): a component is built again when its key changes."""

_SCROLL_INTO_VIEW = "() => document.querySelector('#train-discard-yes')?.scrollIntoView({block: 'nearest'})"


class RunControls:
    """A row of buttons; those that do not apply are disabled, and ``static/page.css`` hides them.

    Pause and Resume share a place, because a run is either live or not. Discarding removes a run for good, so it is
    confirmed by a button in another place, which a double click does not reach.
    """

    def __init__(self, device: DeviceChoice, *, runs: Runs, training: Training, access: Access):
        self.device = device
        self.runs, self.training, self.access = runs, training, access
        self.to_discard = gr.State(None)
        """The id of the run to discard, if that is confirmed."""
        with gr.Row(elem_id="run-controls"):
            self.pause = _button("Pause", "train-pause")
            self.resume = _button("Resume", "train-resume", visible=False)
            self.stop = _button("Stop, keep the adapter", "train-stop")
            self.discard = _button("Stop and discard…", "train-discard")

    def confirmation(self) -> None:
        """Add the question before a run is discarded."""
        with gr.Row(visible=False, elem_id="train-discard-sure", elem_classes="callout") as self.sure:
            self.question = gr.Markdown("", elem_id="train-discard-question")
            self.yes = gr.Button("Discard it", variant="stop", size="sm", elem_id="train-discard-yes", min_width=120)
            self.no = gr.Button("No", size="sm", elem_id="train-discard-no", min_width=120)

    @property
    def outputs(self) -> list[Any]:
        return [self.pause, self.resume, self.stop, self.discard, self.sure]

    def pieces(self, run: Run) -> list[Piece]:
        """The key and the builder of each of ``outputs``."""
        mine = self.access.may_change(viewer(self.access), run)
        live, early = run.live and mine, run.ended_early and mine
        can_leave = live and run.status != "stopping"
        return [
            ([early, can_leave], lambda: gr.Button(visible=not early, interactive=can_leave)),
            (early, lambda: gr.Button(visible=early, interactive=early)),
            (can_leave, lambda: gr.Button(interactive=can_leave)),
            (live, lambda: gr.Button(interactive=live)),
            ([live, run.id], lambda: gr.Row(visible=False)),
        ]

    def wire(self, shown_run: gr.State, show: Callable[..., list[Any]], inputs: list[Any], outputs: list[Any]) -> None:
        """Connect the buttons; their effect shows at once, not at the timer's next poll."""
        for button, handler, about, changed in (
            (self.pause, self._pause, shown_run, None),
            (self.stop, self._stop, shown_run, None),
            (self.resume, self._resume, [shown_run, self.device.control], None),
            (self.yes, self._discard, self.to_discard, self.sure),
        ):
            done = button.click(handler, about, changed, **QUIET)
            done.then(show, inputs, outputs, queue=False, **QUIET)
        opened = self.discard.click(
            self._show_question, shown_run, [self.to_discard, self.sure, self.question], **QUIET
        )
        opened.then(None, None, None, js=_SCROLL_INTO_VIEW, **QUIET)
        self.no.click(lambda: gr.Row(visible=False), None, self.sure, queue=False, **QUIET)

    def _pause(self, run_id: str) -> None:
        self.training.pause(viewer(self.access), run_id)

    def _stop(self, run_id: str) -> None:
        self.training.stop(viewer(self.access), run_id)

    def _resume(self, run_id: str, device: str) -> None:
        self.training.resume(viewer(self.access), run_id, device == CPU)

    def _show_question(self, run_id: str) -> list[Any]:
        run = self.runs.get_to_change(viewer(self.access), run_id, "discard")
        question = f"Discard **{plain(run.name)}**? Its adapter, checkpoints and numbers are then gone for good."
        return [run_id, gr.Row(visible=True), question]

    def _discard(self, run_id: str) -> Any:
        status = self.training.stop(viewer(self.access), run_id, keep=False)
        if status not in ("stopping", "stopped"):
            gr.Info(f"The run was already {status}, so it was not discarded: delete it on Runs.")
        return gr.Row(visible=False)


def _button(label: str, elem_id: str, visible: bool = True) -> gr.Button:
    return gr.Button(label, elem_id=elem_id, size="sm", min_width=110, visible=visible, interactive=False)


EVENTS_SHOWN = 40
CAPTION = (
    "The bold line is the loss on held-out rows: watch that one. The thin line is the training loss; on a short run it "
    "may rise while the model learns, because some batches are harder than others. A click in the legend shows the "
    "pale ones too."
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
        events = self.runs.events(user, run_id, EVENTS_SHOWN)
        answered = [sample["time"] for sample in self.runs.samples(user, run_id)[-1:]]
        last = max((metric["seq"] for metric in status["metrics"].values()), default=0)
        findings = status["findings"]

        @functools.cache
        def figure() -> dict[str, Any]:
            return loss_figure(
                self.runs.metrics(user, run_id),
                run_id,
                log_scale,
                findings,
                run.provenance,
                # An ended run is shown whole: it may have ended early.
                status["total_steps"] if run.live else 0,
            )

        # All pieces are also built again when another run is shown.
        pieces: list[Piece] = [
            (None, lambda: gr.Column(visible=True)),
            *self.controls.pieces(run),
            (run.live, lambda: gr.Column(visible=not run.live)),
            (
                [run.name, run_text.run_sentence(status)],
                lambda: f"**{plain(run.name)}**: {run_text.run_sentence(status)}",
            ),
            # The findings come with their evidence; the verdict's one sentence is for runs without findings.
            (
                [status["status"], bool(findings)],
                lambda: (
                    "" if run.live or findings else run_text.verdict_text(self.evaluations.interpretation(user, run_id))
                ),
            ),
            (
                [status["step"], status["total_steps"], run.live],
                lambda: gr.HTML(
                    {"value": status["step"], "max": max(status["total_steps"], 1)},
                    visible=run.live,
                ),
            ),
            ([last, log_scale, findings, status["total_steps"], run.live], figure),
            (findings, lambda: run_text.findings_text(findings)),
            (last, lambda: figure()["description"]),
            (
                [last, run.live, status["total_steps"], answered],
                lambda: scrubber_value(
                    run_id,
                    run.live,
                    status["total_steps"],
                    probes=bool(run.config["train"].get("probes", True)),
                    scrub=self.runs.scrub(user, run_id),
                ),
            ),
            (status["checkpoints"], lambda: run_text.checkpoint_sentence(status["checkpoints"])),
            (None, lambda: run_text.configuration_sentence(self.runs.readable_config(user, run_id))),
            (None, lambda: json.dumps(self.runs.readable_config(user, run_id), indent=2)),
            (events[-1:], lambda: run_text.events_text(events, last=EVENTS_SHOWN)),
        ]
        now = [run_id, *(key for key, _ in pieces)]
        if now == seen:
            return [gr.skip()] * len(self.outputs)
        same_run = seen is not None and seen[0] == run_id
        made = [gr.skip() if same_run and seen[place] == key else make() for place, (key, make) in enumerate(pieces, 1)]
        return [now, *made]

    def _show_missing(self, run_id: str | None, seen: Any) -> list[Any]:
        """Updates without a visible run: none, except once when the run that this window showed is gone."""
        updates = dict.fromkeys(self.outputs, gr.skip())
        if run_id is not None and seen is not None and seen[0] == run_id:
            updates |= {self.seen: None, self.body: gr.Column(visible=False), self.status: GONE}
        return list(updates.values())
