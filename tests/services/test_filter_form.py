"""The form of one filter shows the controls of its kind, and a tokenizer only where tokens are counted."""

import gradio as gr
import pytest

from instruct_tune.config.filters import STEPS, Length, parameters
from instruct_tune.ui.data.filter_editor import FIRST, FilterForm


@pytest.fixture(scope="module")
def form():
    with gr.Blocks():
        return FilterForm()


def visible(form, updates):
    return {name for name, control in form._controls.items() if updates[control]["visible"]}


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("unit", ["characters", "tokens"])
def test_the_controls_of_a_kind(form, kind, unit):
    hidden = {"tokenizer"} if unit == "characters" else set()
    assert visible(form, form._show(kind, unit)) == set(parameters(STEPS[kind])) - hidden


def test_at_first_characters_are_counted(form):
    shown = {name for name, control in form._controls.items() if control.visible}
    assert shown == set(parameters(STEPS[FIRST])) - {"tokenizer"}


@pytest.mark.parametrize(("unit", "tokenizer"), [("characters", None), ("tokens", "some/model")])
def test_a_filter_to_edit_shows_its_tokenizer_if_it_counts_tokens(form, unit, tokenizer):
    updates = form.fill(Length(of="output", unit=unit, tokenizer=tokenizer, min=1, max=2))
    assert ("tokenizer" in visible(form, updates)) == (unit == "tokens")
    assert updates[form._controls["tokenizer"]]["value"] == (tokenizer or "")
