"""A link to a question in Compare: which fields it may set, and which it may not."""

from __future__ import annotations

import gradio as gr
import pytest

from instruct_tune.ui.compare.sharing import LONGEST, read
from instruct_tune.ui.compare.third_model import answerers


@pytest.mark.parametrize(
    ("control", "text", "wanted"),
    [
        (gr.Radio(["a", "b"]), "b", "b"),
        (gr.Radio(["a", "b"]), "c", None),
        (gr.Slider(8, 1024), "96", 96),
        (gr.Slider(0, 1.5), "0.5", 0.5),
        (gr.Slider(8, 1024), "7", None),
        (gr.Slider(8, 1024), "1e9", None),
        (gr.Slider(8, 1024), "nan", None),
        (gr.Number(minimum=1), "3", 3),
        (gr.Number(minimum=1), "0", None),
        (gr.Number(), "inf", None),
        (gr.Number(), "three", None),
        (gr.Textbox(), "<script>", "<script>"),
        (gr.Textbox(), "x" * (LONGEST + 1), "x" * LONGEST),
    ],
)
def test_a_control_takes_only_what_it_could_have(control, text, wanted):
    assert read(control, text) == wanted


def test_who_answers():
    two = [{"run_id": "base"}, {"run_id": "r1", "strength": 0.5}]
    assert answerers("r1", 0.5, "", 1) == two
    assert answerers("r1", 0.5, "r2", 1) == [*two, {"run_id": "r2", "step": None, "strength": 1}]
    assert answerers("r1", 0.5, "r1@16", 1.5) == [*two, {"run_id": "r1", "step": 16, "strength": 1.5}]
