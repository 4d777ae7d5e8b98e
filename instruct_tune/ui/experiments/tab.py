"""The Experiments tab: a question, a guess, and the effect that was measured with five seeds."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...errors import DataError
from ...experiments.recorded import recorded, shown
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.runs import Runs
from ...services.training import Training
from ..context import PRIVATE, QUIET, viewer
from ..form import Form
from ..scripted_html import packed
from ..workbench import workbench
from . import text
from .own_data import OwnData, own_config
from .view import REVEAL, experiment_view


class ExperimentsTab:
    """The tab's contents.

    ``polled``: what the page's timer updates. ``fill_events``: those that put an experiment's settings into the form.
    """

    def __init__(
        self,
        form: Form,
        tabs: gr.Tabs,
        *,
        configs: Configurations,
        runs: Runs,
        training: Training,
        access: Access,
    ):
        self._configs, self._access, self._form, self._tabs = configs, access, form, tabs
        self._results = recorded()
        self._shown = {experiment.title: experiment for experiment in shown(self._results)}
        self.polled: list[OwnData] = []
        self.fill_events: list[Any] = []
        bench = workbench("experiments")
        if not self._shown:
            with bench.show:
                gr.Markdown(text.NOTHING)
            return
        first = next(iter(self._shown.values()))
        with bench.choose:
            self._which = gr.Radio(
                list(self._shown),
                value=first.title,
                label="Experiment",
                info="Guess, then reveal what five seeds measured",
                elem_id="experiments-list",
            )
        with bench.act:
            reveal = gr.Button("Reveal", variant="primary", elem_id="experiments-reveal")
        with bench.show:
            self._view = experiment_view(text.view_value(self._results, first))
            with gr.Row(elem_classes="buttons"):
                self._try = _offered("Use these settings", "experiments-try", first.configured_arm is not None)
                start = _offered("On my own data, now", "experiments-own", first.pair is not None)
            self._own = OwnData(
                form, self._which, start, self._shown, self._results,
                configs=configs, runs=runs, training=training, access=access,
            )  # fmt: skip
            gr.Markdown(text.measured_line(self._results), elem_id="experiments-measured", elem_classes="note")
        self.polled.append(self._own)
        self._start = start
        reveal.click(None, None, None, js=REVEAL, **PRIVATE)
        form.when_complete(self._wire)

    def _wire(self) -> None:
        drawn = [self._view, self._try, self._start, *self._own.outputs]
        inputs = [self._which, self._own.started]
        self._which.change(self._choose, inputs, drawn, trigger_mode="always_last", **QUIET)
        outputs = [*self._form.controls, self._tabs]
        self.fill_events.append(self._try.click(self._use, self._form.controls | {self._which}, outputs, **QUIET))
        self._own.wire()

    def _choose(self, title: str, started: dict[str, dict[str, str]]) -> list[Any]:
        experiment = self._shown[title]
        return [
            packed(text.view_value(self._results, experiment)),
            gr.Button(visible=experiment.configured_arm is not None),
            gr.Button(visible=experiment.pair is not None),
            *self._own.show(title, started, None),
        ]

    def _use(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """The experiment's settings in the form, on the rows that the visitor has chosen."""
        arm = self._shown[values[self._which]].configured_arm
        if arm is None:
            raise DataError("This experiment is no configuration of a run.")
        config = self._configs.read(viewer(self._access), own_config(arm, self._form.read(values)))
        return {**self._form.fill(config), self._tabs: gr.Tabs(selected="Train")}


def _offered(label: str, elem_id: str, visible: bool) -> gr.Button:
    return gr.Button(label, size="sm", scale=0, min_width=180, elem_id=elem_id, visible=visible)
