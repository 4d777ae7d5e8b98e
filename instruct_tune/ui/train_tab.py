"""Train: a preset, seven controls, Start; then the loss, live."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..lab import Lab
from ..settings import PRESET_NOTES, PRESETS
from .edge import said
from .form import Form
from .train_form import few_controls, first_preset, folds
from .train_panel import TrainPanel


def build(lab: Lab, form: Form) -> tuple[TrainPanel, gr.Button]:
    """The tab's contents; returns the panel that follows a run, and the button to the next tab."""
    gr.Markdown("Start from a preset, change what you like, press Start. The run goes on when you close the page.")
    preset = gr.Radio(list(PRESET_NOTES), value=first_preset(), label="Preset", elem_id="train-preset")
    note = gr.Markdown(PRESET_NOTES[first_preset()], elem_id="preset-note")
    few_controls(form)
    folds(form)
    with gr.Row(equal_height=True):
        name = gr.Textbox(
            show_label=False, placeholder="Name of the run (optional)", elem_id="run-name", max_length=200, scale=2
        )
        start = gr.Button("Start", variant="primary", elem_id="train-start", scale=2)
        stop = gr.Button("Stop, keep the adapter", elem_id="train-stop", scale=1)
    panel = TrainPanel(lab)
    following = gr.Button("Next: Compare", elem_id="train-next", size="sm", elem_classes="next")

    def choose(name: str) -> dict[Any, Any]:
        return {**form.fill(PRESETS[name]), note: PRESET_NOTES[name]}

    @said
    def begin(values: dict[Any, Any]) -> str:
        return lab.start_run(form.read(values), values[name] or "")

    @said
    def end(run_id: str | None) -> None:
        if run_id is None:
            gr.Info("Nothing is running.")
        else:
            lab.stop_run(run_id)

    stop.click(end, panel.shown_run, None, api_visibility="private")

    @form.when_complete
    def wire() -> None:
        start.click(begin, form.controls | {name}, panel.shown_run, api_visibility="private")
        outputs = [*form.controls, note]
        # "input", not "change": a preset fills the form when a person picks it, not when the page loads.
        preset.input(choose, preset, outputs, api_visibility="private", show_progress="hidden")

    return panel, following
