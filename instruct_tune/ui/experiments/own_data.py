"""The two arms of an experiment as runs on a visitor's own rows, and their results beside the recorded ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...config.viewer import Viewer
from ...errors import BusyError, LabError
from ...experiments.arms import ARMS, Arm
from ...experiments.questions import MEASURES, Experiment
from ...experiments.recorded import Results
from ...services.access import Access
from ...services.configurations import Configurations
from ...services.runs import Runs
from ...services.training import Training
from ..context import PRIVATE, QUIET, viewer
from ..form import Form
from ..pending_upload import PendingUpload
from .text import own_table

ROWS = ("source", "split", "columns", "filters", "unify_newlines")
"""The settings that decide which rows are used: the visitor's own stay."""
KINDS = {"held_out_loss": "eval", "general_loss": "general"}
"""The metric of a run that is an experiment's measure; few rows leave none for the probes, but some to evaluate on."""


def own_config(arm: Arm, form: Mapping[str, Any]) -> dict[str, Any]:
    """The arm's configuration on the rows, and with the model, that the form names."""
    config = arm.config.to_dict()
    rows = {name: form["data"][name] for name in ROWS if name in form["data"]}
    return {**config, "model": form["model"], "data": {**config["data"], **rows}}


class OwnData:
    """A table of both arms' results, which the page's timer updates; ``start`` is the button that starts the runs.

    ``started``: title of an experiment → {arm: run id}.
    """

    def __init__(
        self,
        form: Form,
        which: gr.Radio,
        start: gr.Button,
        shown: Mapping[str, Experiment],
        results: Results,
        *,
        configs: Configurations,
        runs: Runs,
        training: Training,
        access: Access,
    ):
        self._form, self._which, self._start, self._shown, self._results = form, which, start, shown, results
        self._configs, self._runs, self._training, self._access = configs, runs, training, access
        self._table = gr.Markdown("", elem_id="experiments-own-table")
        self.started, self._seen, self.pending = gr.State({}), gr.State(""), PendingUpload()

    @property
    def inputs(self) -> list[Any]:
        return [self._which, self.started, self._seen]

    @property
    def outputs(self) -> list[Any]:
        return [self._table, self._seen]

    def show(self, title: str, started: Mapping[str, Mapping[str, str]], seen: str | None) -> list[Any]:
        """The table of the experiment ``title``, if it has changed since ``seen``."""
        now = self._results_of(title, started)
        return [gr.skip(), gr.skip()] if now == seen else [now, now]

    def wire(self) -> None:
        """Connect the button, once the form is complete."""
        inputs = self.pending.beside(self._form.controls | {self._which, self.started})
        begun = self._start.click(self._begin, outputs=self.started, **inputs, **PRIVATE)
        begun.success(self.show, self.inputs, self.outputs, **QUIET)

    def _begin(self, values: dict[Any, Any]) -> dict[str, dict[str, str]]:
        self.pending.refuse(values)
        experiment = self._shown[values[self._which]]
        requester, form, started = viewer(self._access), self._form.read(values), values[self.started]
        if any(self._is_live(requester, run_id) for run_id in started.get(experiment.title, {}).values()):
            raise BusyError("These two runs are on their way already: Runs shows them.")
        # One alone answers nothing.
        pair = experiment.pair or ()
        configs = {arm: self._configs.read(requester, own_config(ARMS[arm], form)) for arm in pair}
        runs: dict[str, str] = {}
        try:
            for arm, config in configs.items():
                runs[arm] = self._training.start(requester, config, f"{experiment.title}: {ARMS[arm].label}")
        except LabError:
            for run_id in runs.values():
                self._training.stop(requester, run_id)
            raise
        gr.Info("Two runs wait for their turn: Train and Runs show them too.")
        return {**started, experiment.title: runs}

    def _is_live(self, user: Viewer, run_id: str) -> bool:
        return self._runs.is_visible(user, run_id) and self._runs.get(user, run_id).live

    def _results_of(self, title: str, started: Mapping[str, Mapping[str, str]]) -> str:
        experiment, runs = self._shown.get(title), started.get(title)
        if not experiment or not runs:
            return ""
        return own_table(self._results, experiment, {arm: self._state(experiment, run) for arm, run in runs.items()})

    def _state(self, experiment: Experiment, run_id: str) -> str:
        """The measure of a finished run, else its status."""
        user, kind = viewer(self._access), KINDS[experiment.measure]
        if not self._runs.is_visible(user, run_id):
            return "deleted"
        status = self._runs.get(user, run_id).status
        metric = self._runs.last_metric(user, run_id, kind)
        if status != "finished" or metric is None:
            return status
        return f"{metric[f'{kind}_loss']:.{MEASURES[experiment.measure].digits}f}"
