"""Format: one row under the X-ray, every token with what it is and whether it carries loss."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..lab import Lab
from ..looking.xray import Fault, XRay
from ..prompt import TEMPLATES
from . import batch_panel, template_editor, view
from .edge import said, viewer
from .form import CUSTOM_TEMPLATE, Form
from .memory import Memory
from .token_grid import grid_value, token_grid


def build(lab: Lab, form: Form, memory: Memory) -> gr.Button:
    """The tab's contents; returns the button that leads to the next tab."""
    gr.Markdown("See the exact row the trainer gets. The prompt is read; only the answer and its EOS carry loss.")
    with gr.Row():
        form.add(
            "template",
            gr.Radio(
                [*TEMPLATES, CUSTOM_TEMPLATE],
                value="lesson",
                label="Template",
                info="How a row becomes a prompt: the same for training and for every answer later",
                elem_id="format-template",
                scale=3,
                min_width=320,
            ),
        )
        number = gr.Number(
            1,
            label="Training row",
            info="From 1 on",
            precision=0,
            minimum=1,
            elem_id="format-row",
            scale=1,
            min_width=200,
        )
    template_editor.build(form, memory)
    button = gr.Button("Show the row", variant="primary", elem_id="format-show")
    sentence = gr.Markdown("Nothing shown yet: press **Show the row**.", elem_id="format-sentence")
    grid = token_grid("format-tokens")
    with gr.Column(visible=False) as details:
        with gr.Accordion("Prompt and answer as text", open=False), gr.Row():
            prompt, answer = (
                gr.Textbox(label=label, min_width=320, lines=6, max_lines=14, interactive=False, elem_classes="mono")
                for label in ("Prompt", "Answer")
            )
        with gr.Accordion("Every token as a table", open=False):
            tokens = gr.Dataframe(headers=view.TOKEN_HEADERS, interactive=False, max_height=400, label="Tokens")
        with gr.Accordion("Broken on purpose, for teaching", open=False, elem_id="format-broken"):
            gr.Markdown("The same row with a classic fault. Only shown here; no run is ever trained like this.")
            fault = gr.Radio([each.value for each in Fault], label="Fault", elem_id="format-fault")
            lesson = gr.Markdown("Choose a fault.", elem_id="format-lesson")
            broken = token_grid("format-broken-tokens")
    batch_panel.build(lab, form)
    following = gr.Button("Next: Train", elem_id="format-next", size="sm", elem_classes="next")

    def look(values: dict[Any, Any], fault: str | None = None) -> XRay:
        config = form.read(values, "model", "data", "template")
        config["train"] = {name: values[form[f"train.{name}"]] for name in ("max_length", "overlong")}
        return lab.xray(config, max(1, int(values[number] or 1)) - 1, fault, viewer(lab))

    @said
    def show(values: dict[Any, Any]) -> dict[Any, Any]:
        row = look(values)
        return {
            sentence: f"**{view.plain(row.explanation, 400)}**",
            grid: gr.HTML(grid_value(row), visible=True),
            details: gr.Column(visible=True),
            prompt: view.prompt_of(row),
            answer: view.answer_of(row),
            tokens: view.token_rows(row),
            **(show_broken(values) if values[fault] else {}),
        }

    @said
    def follow_edits(values: dict[Any, Any]) -> dict[Any, Any]:
        """The row that is shown, as the custom template renders it while somebody types; complete texts only."""
        texts = [values[form[f"template.{part}"]] for part in template_editor.PARTS]
        shown = values[prompt] and values[form["template"]] == CUSTOM_TEMPLATE
        if not shown or template_editor.faults(*texts):
            return {sentence: gr.skip()}
        return show(values)

    @said
    def show_broken(values: dict[Any, Any]) -> dict[Any, Any]:
        row = look(values, values[fault])
        said_of_it = f"**{row.supervised} of {row.length} tokens carry loss.** {view.plain(row.explanation, 500)}"
        return {lesson: said_of_it, broken: gr.HTML(grid_value(row), visible=True)}

    @form.when_complete
    def wire() -> None:
        inputs = form.controls | {number, fault}
        outputs = [sentence, grid, details, prompt, answer, tokens, lesson, broken]
        for trigger in (button.click, number.change, form["template"].change):
            trigger(show, inputs, outputs, show_progress_on=sentence, api_visibility="private")
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        for part in template_editor.PARTS:
            edited = form[f"template.{part}"].change
            edited(follow_edits, inputs | {prompt}, outputs, trigger_mode="always_last", **quiet)
        fault.input(show_broken, inputs, [lesson, broken], **quiet)

    return following
