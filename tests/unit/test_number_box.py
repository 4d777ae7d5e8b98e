"""Number boxes: no value stays none, and an error names the box."""

from __future__ import annotations

import gradio as gr
import pytest

from instruct_tune.ui.number_box import NumberBox, OpenSlider
from instruct_tune.ui.train import settings_form


def test_no_value_is_an_empty_text_for_the_browser_and_none_for_handlers():
    box = NumberBox(None, precision=0)
    # Not None: the browser's component turns that into 0.
    assert box.get_config()["value"] == box.postprocess(None) == box.postprocess("") == ""
    assert box.preprocess("") is box.preprocess(None) is None


def test_numbers_pass_rounded():
    assert NumberBox(precision=0).preprocess(3.0) == 3
    assert NumberBox(minimum=0, maximum=1).preprocess(0.5) == 0.5
    assert NumberBox(precision=0).postprocess(7.2) == 7


@pytest.mark.parametrize(("value", "words"), [(-3, "at least 1, not -3"), (51, "at most 50, not 51")])
def test_the_error_names_the_box(value, words):
    with pytest.raises(gr.Error, match=f"^'?Held-out rows: choose {words}"):
        NumberBox(1, label="Held-out rows", minimum=1, maximum=50).preprocess(value)


def test_a_setting_from_elsewhere_beyond_the_sliders_ends_stops_no_event():
    slider = OpenSlider(1, 64, 8, step=1)
    assert slider.preprocess(128) == 128
    assert slider.get_config()["maximum"] == 64
    fields = [*settings_form.FEW, *settings_form.LORA, *settings_form.STEPS, *settings_form.OPTIMIZER]
    assert {field.kind for field in fields if field.kind} == {OpenSlider}
