"""Format: one row as prompt and response, every token coloured by what carries loss."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..lab import Lab
from ..prompt import LESSON, TEMPLATES
from . import view
from .edge import said, viewer
from .form import CUSTOM_TEMPLATE, Form


def build(lab: Lab, form: Form) -> gr.Button:
    """The tab's contents; returns the button that leads to the next tab."""
    gr.Markdown("See the exact row the trainer gets. The prompt is read; only the answer and its EOS carry loss.")
    with gr.Row():
        form.add(
            "template",
            gr.Radio([*TEMPLATES, CUSTOM_TEMPLATE], value="lesson", label="Template", elem_id="format-template"),
        )
        number = gr.Number(1, label="Training row", precision=0, minimum=1, elem_id="format-row")
    with gr.Accordion("Custom template", open=False):
        for name, text in (("without_input", LESSON.without_input), ("with_input", LESSON.with_input)):
            form.add(
                f"template.{name}",
                gr.Textbox(
                    text,
                    label=f"Prompt {name.replace('_', ' ')}",
                    info="Used where the template is custom; {instruction} and {input} stand for the row's texts",
                    lines=4,
                ),
            )
    button = gr.Button("Show the row", variant="primary", elem_id="format-show")
    sentence = gr.Markdown("Press **Show the row**.", elem_id="format-sentence")
    with gr.Row(visible=False) as texts:
        prompt = gr.Textbox(
            label="Prompt", min_width=320, lines=6, max_lines=14, interactive=False, elem_classes="mono"
        )
        answer = gr.Textbox(
            label="Answer", min_width=320, lines=6, max_lines=14, interactive=False, elem_classes="mono"
        )
    spans = gr.HighlightedText(
        label="What carries loss",
        color_map=view.MASK_COLOURS,
        show_legend=True,
        show_whitespaces=True,
        combine_adjacent=False,
        elem_id="format-tokens",
        elem_classes="mono",
        visible=False,
    )
    with gr.Accordion("Every token", open=False, visible=False) as every:
        tokens = gr.Dataframe(
            headers=["position", "id", "token", "carries loss"], interactive=False, max_height=400, label="Tokens"
        )
    following = gr.Button("Next: Train", elem_id="format-next", size="sm", elem_classes="next")

    @said
    def show(values: dict[Any, Any]) -> dict[Any, Any]:
        config = form.read(values, "model", "data", "template")
        config["train"] = {"max_length": values[form["train.max_length"]]}
        row = lab.training_row(config, max(1, int(values[number] or 1)) - 1, viewer(lab))
        told = lab.mask(config, row.instruction, row.input, row.output, viewer(lab))
        pieces, eos = lab.token_texts(config, told["input_ids"], viewer(lab))
        return {
            sentence: view.mask_sentence(told),
            prompt: "".join(pieces[: told["prompt_length"]]),
            answer: "".join(pieces[told["prompt_length"] :]),
            spans: gr.HighlightedText(view.mask_spans(told, pieces, eos), visible=True),
            **{hidden: gr.update(visible=True) for hidden in (texts, every)},
            tokens: view.token_rows(told),
        }

    @form.when_complete
    def wire() -> None:
        outputs = [sentence, texts, prompt, answer, spans, every, tokens]
        for trigger in (button.click, number.change, form["template"].change):
            trigger(show, form.controls | {number}, outputs, api_visibility="private")

    return following
