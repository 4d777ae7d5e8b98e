"""The cost panel beside Start: the estimate for the form's settings, and "fit it into … minutes"."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import gradio as gr

from ...config.run_config import RunConfig
from ...errors import LabError
from ...services.access import Access
from ...services.estimates import Estimates
from ...services.training import Training
from ..context import PRIVATE, QUIET, error_sentence, viewer
from ..device_choice import GPU, DeviceChoice
from ..form import Form
from ..number_box import NumberBox
from .text import cost_details, cost_sentence, cost_warnings

_MOST_WINDOWS = 1000
"""Windows whose newest settings are remembered; one that falls out shows no measured time until its next change."""


class CostPanel:
    """A line that is updated with the controls, warnings under it, and two folds."""

    def __init__(self, form: Form, device: DeviceChoice, *, training: Training, estimates: Estimates, access: Access):
        self.device = device
        self.training, self.estimates, self.access = training, estimates, access
        self.form = form
        self.line = gr.Markdown("What this run will cost is counted once the page is ready.", elem_id="train-cost")
        self.warnings = gr.Markdown("", elem_id="train-cost-warnings")
        # Nothing is computed for people who only view other tabs.
        self.watched = gr.State(False)
        self._newest: OrderedDict[str | None, str] = OrderedDict()
        """The settings that each window's line is about: what was measured for earlier ones is not shown."""

    def folds(self) -> None:
        """Add the folds with the detailed cost and "fit it into a time", side by side where the width allows."""
        with gr.Row():
            with (
                gr.Column(min_width=340),
                gr.Accordion("What it will cost, in detail", open=False, elem_id="train-cost-fold"),
            ):
                self.details = gr.Markdown("", elem_id="train-cost-details")
            with gr.Column(min_width=340), gr.Accordion("Fit it into a time", open=False, elem_id="train-fit-fold"):
                fewer = "Chooses as many rows as fit; fewer epochs or steps where even a few rows do not"
                self.minutes = NumberBox(5, label="Minutes", info=fewer, elem_id="train-fit-minutes")
                self.fit = gr.Button("Choose the rows", elem_id="train-fit")
                self.chosen = gr.Markdown("", elem_id="train-fit-said")

    def follow(self, tab: gr.Tab, at_rest: gr.Checkbox) -> Any:
        """Connect the events, once the form is complete. ``at_rest``: whether the lab is idle and can measure.

        Returns the event that chooses the rows.
        """
        shown = [self.line, self.warnings, self.details]
        opened = tab.select(lambda: True, None, self.watched, queue=False, **QUIET).then(
            self.count, self._inputs, shown, concurrency_limit=4, concurrency_id="cost", **QUIET
        )
        changed = gr.on(
            [control.change for control in (*self.form.controls, at_rest, self.device.control)],
            self.count,
            self._inputs,
            shown,
            trigger_mode="always_last",
            concurrency_id="cost",
            **QUIET,
        )
        # An event of its own: measuring may wait behind a run, and must not hold up the count of the next change.
        for counted in (opened, changed):
            counted.success(
                self.measure,
                self._inputs,
                shown,
                trigger_mode="multiple",
                concurrency_limit=4,
                concurrency_id="cost-measure",
                **QUIET,
            )
        return self.fit.click(
            self.choose_rows,
            self.form.controls | {self.minutes},
            [self.form["data.limit"], self.form["train.num_train_epochs"], self.form["train.max_steps"], self.chosen],
            **PRIVATE,
        )

    @property
    def _inputs(self) -> set[Any]:
        return self.form.controls | {self.watched, self.device.control}

    def count(self, values: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        """What can be counted of the form's settings, and what was measured before."""
        if not values[self.watched]:
            return {self.line: gr.skip()}
        try:
            cost, key = self._counted(values)
        except LabError as error:
            self._remember(request.session_hash, "")
            return {self.line: f"⚠ {error_sentence(error)}", self.warnings: "", self.details: ""}
        self._remember(request.session_hash, key)
        return self._shown(cost)

    def measure(self, values: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        """Time and memory, measured if they are not known; nothing if the form has changed since it was counted."""
        unchanged = {self.line: gr.skip()}
        if not values[self.watched]:
            return unchanged
        window, user = request.session_hash, viewer(self.access)
        try:
            cost, key = self._counted(values)
            is_known = cost["seconds"] is not None or cost["tokens"] is None
            if is_known or self._lends(values) or self.training.busy_with(user) or self._newest.get(window) != key:
                return unchanged
            measured = self.estimates.cost(user, self.form.read(values))
        except LabError as error:
            return {self.line: f"⚠ {error_sentence(error)}", self.warnings: "", self.details: ""}
        return self._shown(measured) if self._newest.get(window) == key else unchanged

    def _counted(self, values: dict[Any, Any]) -> tuple[dict[str, Any], str]:
        """The cost without measuring, and the settings that it is of. Raises LabError."""
        config, lent = self.form.read(values), self._lends(values)
        cost = self.estimates.cost(viewer(self.access), config, measure=False, lent=lent)
        return cost, json.dumps([config, lent])

    def _lends(self, values: dict[Any, Any]) -> bool:
        return self.device.lends_gpus and values[self.device.control] == GPU

    def _remember(self, window: str | None, key: str) -> None:
        self._newest[window] = key
        self._newest.move_to_end(window)
        if len(self._newest) > _MOST_WINDOWS:
            self._newest.popitem(last=False)

    def _shown(self, cost: dict[str, Any]) -> dict[Any, Any]:
        return {self.line: cost_sentence(cost), self.warnings: cost_warnings(cost), self.details: cost_details(cost)}

    def choose_rows(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """Fill the form with the rows, epochs and steps that fit into the minutes."""
        fit = self.estimates.fit(viewer(self.access), self.form.read(values), values[self.minutes])
        filled = self.form.fill(RunConfig.from_dict(fit["config"]))
        changed = ("data.limit", "train.num_train_epochs", "train.max_steps")
        return {self.chosen: fit["said"], **{self.form[name]: filled[self.form[name]] for name in changed}}
