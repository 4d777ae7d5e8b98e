"""What people changed stays where a control says it was used and was not."""

import gradio as gr

from instruct_tune.ui.data.source import _with_default_filter
from instruct_tune.ui.form import CUSTOM_TEMPLATE
from instruct_tune.ui.format.template_editor import _load_template

MINE = {"mine": {"without_input": "{instruction}:", "with_input": "{instruction} {input}:"}}


def test_leaving_the_dataset_as_it_was_changes_no_filter():
    assert _with_default_filter("bundled", "[]", "bundled") == [gr.skip(), gr.skip()]
    steps, before = _with_default_filter("bundled", "[]", "hub:a/b")
    assert "without_input" in steps
    assert before == "bundled"
    # A list that is being written by hand is left alone, whatever was chosen.
    assert _with_default_filter("bundled", "[{", None) == [gr.skip(), "bundled"]


def test_leaving_the_kept_templates_takes_no_edit_away():
    assert _load_template("mine", MINE, "mine") == [gr.skip()] * 5
    assert _load_template("gone", MINE, None) == [gr.skip()] * 5
    filled = ["mine", *MINE["mine"].values(), CUSTOM_TEMPLATE, "mine"]
    assert _load_template("mine", MINE, "another") == filled
    # Chosen again on purpose, with the mouse: the texts come back.
    assert _load_template("mine", MINE) == filled
