"""What a form shows is what it gives back: no step of a ledger is lost on the way through the page."""

import gradio as gr
import pytest

from instruct_tune.errors import SettingsError
from instruct_tune.settings import RunConfig
from instruct_tune.ui.form import ALL_ROWS, LESSON_FILTER, Form
from instruct_tune.ui.view import ledger_rows

LENGTH = {"step": "length", "of": "output", "unit": "characters", "tokenizer": None, "min": None, "max": 200}
WITHOUT, LEAKING = {"step": "without_input"}, {"step": "drop_leakage"}


@pytest.fixture
def form() -> Form:
    made = Form()
    for name in ("data.source", "filters", "filters.more", "template"):
        made.add(name, gr.Textbox())
    made.add("filters.leakage", gr.Checkbox())
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
    values = {**form.fill(RunConfig()), form["filters.more"]: written}
    with pytest.raises(SettingsError, match=r"data\.filters must be a list of steps"):
        RunConfig.from_dict(form.read(values))


def test_the_plain_choice_needs_no_writing(form):
    shown = form.fill(RunConfig())
    assert (shown[form["filters"]], shown[form["filters.more"]]) == (LESSON_FILTER, "")
    assert form.fill(RunConfig.from_dict({"data": {"filters": [LENGTH]}}))[form["filters"]] == ALL_ROWS


def test_the_table_says_what_a_step_was_told():
    told = {
        "rows_loaded": 9, "test_rows": 1, "train_rows": 3, "train_rows_before_limit": 3,
        "ledger": [
            {"step": "without_input", "kept": 8, "dropped": 1},
            {"step": "length", "kept": 5, "dropped": 3, "parameters": {"of": "output", "max": 200, "min": None}},
            {"step": "drop_rows", "kept": 4, "dropped": 1, "parameters": {"rows": ["a"]}},
        ],
    }  # fmt: skip
    steps = [row[0] for row in ledger_rows(told)]
    assert steps[1:4] == ["without input", "length: of output, max 200", "drop rows: rows 1 by hand"]
