"""Train: a preset, seven controls, Start; then the loss, live."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from ..lab import Lab
from . import template_note
from .cost_panel import CostPanel
from .edge import said, viewer
from .form import Form
from .parent_panel import ParentPanel
from .preset_panel import PresetPanel
from .train_form import few_controls, folds
from .train_panel import TrainPanel

SECOND_CLICK_SECONDS = 2.0


def is_second_click(before: Any, asked: Any, now: float) -> bool:
    """Whether the very same was asked for a moment ago (``before``: what, and when): a double click is one wish."""
    return before is not None and before[0] == asked and now - before[1] < SECOND_CLICK_SECONDS


def build(
    lab: Lab, form: Form, tab: gr.Tab, at_rest: gr.Checkbox
) -> tuple[TrainPanel, PresetPanel, ParentPanel, gr.Button]:
    """The tab's contents; returns the panel that follows a run, the presets, what is continued, and the button to the
    next tab. ``at_rest``: whether the lab is idle."""
    presets = PresetPanel(lab, form)
    few_controls(form)
    continued = ParentPanel(lab)
    template_note.build(lab, form, continued.parent, "train-template", template_note.GOES_ON)
    with gr.Row(equal_height=True, elem_id="train-go"):
        name = gr.Textbox(
            show_label=False,
            container=False,
            placeholder="Name of the run (optional)",
            elem_id="run-name",
            max_length=200,
            scale=2,
        )
        start = gr.Button("Start", variant="primary", elem_id="train-start", scale=2)
    cost = CostPanel(lab, form)
    presets.tell_changes()
    cost.folds()
    folds(form)
    panel = TrainPanel(lab)
    following = gr.Button("Next: Compare", elem_id="train-next", size="sm", elem_classes="next")

    started = gr.State(None)

    @said
    def begin(values: dict[Any, Any]) -> dict[Any, Any]:
        config, called, parent = form.read(values), values[name] or "", values[continued.parent]
        asked = [config, called, parent]
        if is_second_click(values[started], asked, time.monotonic()):
            return {panel.shown_run: gr.skip()}
        run_id = lab.start_run(config, called, viewer(lab), parent)
        return {panel.shown_run: run_id, started: [asked, time.monotonic()]}

    @form.when_complete
    def wire() -> None:
        presets.follow(tab)
        cost.follow(tab, at_rest)
        # While the request is under way the button takes no other; what a fast hand got in before is told apart.
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        pressed = start.click(lambda: gr.Button(interactive=False), None, start, queue=False, **quiet)
        begun = pressed.then(
            begin,
            form.controls | {name, started, continued.parent},
            [panel.shown_run, started],
            api_visibility="private",
        )
        begun.then(lambda: gr.Button(interactive=True), None, start, queue=False, **quiet)

    return panel, presets, continued, following
