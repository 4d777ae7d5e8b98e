"""Messages on the page name settings as the form does."""

from __future__ import annotations

import gradio as gr
import pytest

from instruct_tune.ui.form import Form
from instruct_tune.ui.setting_labels import in_form_words
from instruct_tune.ui.train.settings_form import STEPS, few_controls, folds


@pytest.fixture(scope="module", autouse=True)
def form():
    with gr.Blocks():
        form = Form()
        few_controls(form)
        folds(form)
        form.add("data.columns.instruction", gr.Textbox(label="Column of the instruction"), "Columns and split")
        form.add("data.columns.output", gr.Textbox(label="Column of the output"), "Columns and split")
        form.add("data.columns.ignore", gr.Textbox(label="Columns to leave out"))
    return form


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("train.learning_rate must be above 0, not -1.", "“Learning rate” must be above 0, not -1."),
        ("set data.columns.instruction.", "set “Column of the instruction” (Columns and split)."),
        ("lora.r, lora.lora_alpha", "“Rank”, “Alpha” (LoRA)"),
        ("evaluation_rows: too many", "“Evaluation rows” (Measuring and checkpoints): too many"),
        (
            "set data.columns.instruction=prompt data.columns.output=answer.",
            "set “Column of the instruction” (Columns and split) = prompt and “Column of the output” (Columns and "
            "split) = answer.",
        ),
        ('set \'data.columns.ignore=["label", "a b"]\' to', "set “Columns to leave out” = label, a b to"),
        ("set 'data.columns.output=it'\"'\"'s' to", "set “Column of the output” (Columns and split) = it's to"),
        ("or data.columns.output=null, or", "or “Column of the output” (Columns and split) = (empty), or"),
        ("train.gone=3 and x.y=4", "train.gone=3 and x.y=4"),
        # Ordinary words, longer names and files stay.
        *[
            (text, text)
            for text in ("the model", "train.learning_rates", "my.train.seed", "/train.seed", "train.seed/a")
        ],
    ],
)
def test_the_forms_words_stand_for_names(message, shown):
    assert in_form_words(message) == shown


def test_the_help_of_the_batch_size_names_what_a_steps_rows_depend_on_too():
    fields = {field.name: field for field in STEPS}
    accumulation = fields["train.gradient_accumulation_steps"].label
    assert accumulation in fields["train.per_device_train_batch_size"].help
