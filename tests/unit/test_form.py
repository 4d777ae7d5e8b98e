"""A form returns the values that it shows: no step of a ledger is lost on the way through the page."""

import gradio as gr
import pytest

from instruct_tune.config.run_config import RunConfig
from instruct_tune.errors import SettingsError
from instruct_tune.ui.form import OWN_PROMPTS, Form

LENGTH = {"step": "length", "of": "output", "unit": "characters", "tokenizer": None, "min": None, "max": 200}
WITHOUT, LEAKING = {"step": "without_input"}, {"step": "drop_leakage"}


@pytest.fixture
def form() -> Form:
    made = Form()
    for name in ("data.source", "data.filters", "template"):
        made.add(name, gr.Textbox())
    return made


def through(form: Form, filters: list) -> list:
    config = RunConfig.from_dict({"data": {"filters": filters}})
    return RunConfig.from_dict(form.read(form.fill(config))).to_dict()["data"]["filters"]


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [WITHOUT],
        [{"step": "with_input"}, LEAKING],
        [WITHOUT, LENGTH, {"step": "drop_exact_duplicates"}, LEAKING],
        [LENGTH, WITHOUT],
        [{"step": "contains", "of": "row", "text": "é<script>\u202e", "exclude": True}],
        [{"step": "drop_empty"}],
    ],
)
def test_every_step_comes_through(form, filters):
    assert through(form, filters) == filters


@pytest.mark.parametrize("written", ["[oops", "{}", "3", "[" * 100_000, "null"])
def test_what_is_no_list_is_refused_by_name(form, written):
    values = {**form.fill(RunConfig()), form["data.filters"]: written}
    with pytest.raises(SettingsError, match=r"data\.filters must be a list of steps"):
        RunConfig.from_dict(form.read(values))


COLUMNS = ("instruction", "input", "output", "system", "ignore")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"columns": {"instruction": "q", "input": None, "output": "a", "system": "system_prompt"}},
        {"columns": {"ignore": ["tools", "history"]}, "unify_newlines": True},
    ],
)
def test_columns_come_through(data):
    form = Form()
    for name in ("data.source", "data.filters", "template", *(f"data.columns.{part}" for part in COLUMNS)):
        form.add(name, gr.Textbox())
    form.add("data.unify_newlines", gr.Checkbox())
    config = RunConfig.from_dict({"data": {"filters": [], **data}})
    shown = form.fill(config)
    assert all(isinstance(value, str | bool) for value in shown.values())
    assert RunConfig.from_dict(form.read(shown)) == config


@pytest.mark.parametrize("prompts", [[], ["One prompt"], ["Two\nlines", " and blanks "]])
def test_own_prompts_come_through_as_they_were_typed(form, prompts):
    for name in OWN_PROMPTS:
        form.add(name, gr.Textbox())
    config = RunConfig.from_dict({"train": {"own_prompts": prompts}})
    assert form.read(form.fill(config))["train"] == {"own_prompts": prompts}


def test_a_box_that_is_left_empty_is_no_prompt(form):
    for name in OWN_PROMPTS:
        form.add(name, gr.Textbox())
    values = {**form.fill(RunConfig()), form[OWN_PROMPTS[0]]: " \n", form[OWN_PROMPTS[1]]: "Second"}
    assert form.read(values)["train"] == {"own_prompts": ["Second"]}
    values[form[OWN_PROMPTS[0]]] = None
    assert form.read(values)["train"] == {"own_prompts": ["Second"]}
