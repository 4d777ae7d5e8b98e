"""Beside Start: what the run will cost as the controls stand, and "fit it into … minutes"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...config.run_config import RunConfig
from ...errors import LabError
from ...lab import Lab
from ...text.markdown import plain
from ..context import user_errors, viewer
from ..form import Form
from .text import cost_details, cost_sentence, cost_warnings


class CostPanel:
    """A line that follows the controls, warnings under it, and two folds."""

    def __init__(self, lab: Lab, form: Form):
        self.lab, self.form = lab, form
        self.line = gr.Markdown("What this run will cost is counted once the page is ready.", elem_id="train-cost")
        self.warnings = gr.Markdown("", elem_id="train-cost-warnings")
        # Nothing is computed for people who only look at other tabs.
        self.watched = gr.State(False)

    def folds(self) -> None:
        """Where it goes in detail, and "fit it into a time": side by side where there is room."""
        with gr.Row():
            with gr.Column(min_width=340):
                self._details()
            with gr.Column(min_width=340):
                self._fit()

    def _details(self) -> None:
        with gr.Accordion("What it will cost, in detail", open=False, elem_id="train-cost-fold"):
            self.details = gr.Markdown("", elem_id="train-cost-details")

    def _fit(self) -> None:
        with gr.Accordion("Fit it into a time", open=False, elem_id="train-fit-fold"):
            self.minutes = gr.Number(
                5,
                label="Minutes",
                info="Chooses as many rows as fit; fewer epochs or steps where even a few rows do not",
                elem_id="train-fit-minutes",
            )
            self.fit = gr.Button("Choose the rows", elem_id="train-fit")
            self.chosen = gr.Markdown("", elem_id="train-fit-said")

    def follow(self, tab: gr.Tab, at_rest: gr.Checkbox) -> None:
        """Connect the events, once the whole form is there. ``at_rest``: whether the lab has time to measure."""
        shown = [self.line, self.warnings, self.details]
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_id": "cost"}
        tab.select(lambda: True, None, self.watched, queue=False, **{**quiet, "concurrency_id": None}).then(
            self.tell, self.form.controls | {self.watched}, shown, concurrency_limit=4, **quiet
        )
        gr.on(
            [each.change for each in (*self.form.controls, at_rest)],
            self.tell,
            self.form.controls | {self.watched},
            shown,
            trigger_mode="always_last",
            **quiet,
        )
        self.fit.click(
            user_errors(self.choose_rows),
            self.form.controls | {self.minutes},
            [self.form["data.limit"], self.form["train.num_train_epochs"], self.form["train.max_steps"], self.chosen],
            api_visibility="private",
        )

    def tell(self, values: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        """First what can be counted; then, where nothing was measured yet, time and memory as well."""
        if not values[self.watched]:
            return
        try:
            config, who = self.form.read(values), viewer(self.lab)
            told = self.lab.estimates.cost(who, config, measure=False)
            yield self._shown(told)
            if told["seconds"] is None and told["tokens"] is not None and not self.lab.training.busy_with(who):
                yield self._shown(self.lab.estimates.cost(who, config))
        except LabError as error:
            yield {self.line: f"⚠ {plain(str(error), 600)}", self.warnings: "", self.details: ""}

    def _shown(self, told: dict[str, Any]) -> dict[Any, Any]:
        return {
            self.line: cost_sentence(told),
            self.warnings: cost_warnings(told),
            self.details: cost_details(told),
        }

    def choose_rows(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """Write into the form what fits into the minutes."""
        found = self.lab.estimates.fit(viewer(self.lab), self.form.read(values), values[self.minutes])
        filled = self.form.fill(RunConfig.from_dict(found["config"]))
        changed = ("data.limit", "train.num_train_epochs", "train.max_steps")
        return {self.chosen: found["said"], **{self.form[name]: filled[self.form[name]] for name in changed}}
