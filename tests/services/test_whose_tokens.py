"""A token filter without a tokenizer counts the chosen model's tokens, on every tab."""

import json

import gradio as gr
import pytest

from instruct_tune.config.filters import Length
from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.ui.data.filter_text import loaded
from instruct_tune.ui.data.filters import FiltersPanel
from instruct_tune.ui.form import Form

BY_HAND = json.dumps([{"step": "length", "unit": "tokens", "max": 9}])
SUMMARY = {"rows_loaded": 9, "test_rows": 1, "train_rows": 7, "train_rows_before_limit": 7,
        "ledger": [{"step": "length", "kept": 8, "dropped": 1}]}  # fmt: skip

pytestmark = pytest.mark.usefixtures("tiny_cache")


@pytest.fixture
def page(lab):
    """The form, the filter list, and their values: a list written by hand, and the tiny model."""
    form = Form()
    with gr.Blocks():
        for name in ("model", "template", "data.source"):
            form.add(name, gr.Textbox())
        filters = FiltersPanel(form, configs=lab.configs, datasets=lab.datasets, access=lab.access)
    return form, filters, {**form.fill(RunConfig(model="tiny-random")), form["data.filters"]: BY_HAND}


def test_the_rows_of_the_data_tab_are_those_that_a_run_is_given(page, lab):
    form, _, values = page
    on_data, of_a_run = (RunConfig.from_dict(settings).data for settings in (form.rows(values), form.read(values)))
    assert on_data == of_a_run
    assert on_data.filters == (Length(unit="tokens", tokenizer="tiny-random", max=9),)
    (entry,) = lab.datasets.summary(HOST, form.rows(values))["ledger"]
    assert entry["parameters"]["tokenizer"] == "tiny-random"
    # The tiny model's tokens are letters.
    letters = {"data": {**form.rows(values)["data"], "filters": [{"step": "length", "max": 9}]}}
    assert entry["kept"] == lab.datasets.summary(HOST, letters)["ledger"][0]["kept"] < entry["dropped"]


def test_the_list_says_whose_and_that_another_model_keeps_other_rows(page):
    _, filters, values = page
    last = loaded(filters.steps(values), SUMMARY)
    for model, counts in (("tiny-random", "kept 8, dropped 1"), ("a/b", "not applied yet")):
        drawn, sentence = filters._redraw(BY_HAND, last, 0, model)
        assert drawn.choices == [(f"1. answer of at most 9 tokens of {model} · {counts}", 0)]
        assert ("9 rows loaded" in sentence) == (model == "tiny-random")


def test_a_change_of_the_list_writes_it_down(page):
    form, filters, values = page
    values |= dict.fromkeys(filters.inputs) | {filters.changed[1]: []}
    written = filters.add_by_hand(values, "drop_rows", ("an id",))[form["data.filters"]]
    assert json.loads(written)[0]["tokenizer"] == "tiny-random"


def test_a_ledger_written_by_hand_is_counted_by_the_chosen_model(page, tmp_path):
    form, filters, values = page
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"data": {"filters": json.loads(BY_HAND)}}))
    values[filters.file._load] = str(file)
    filled = filters.file._read(values)[form["data.filters"]]
    assert json.loads(filled)[0]["tokenizer"] == "tiny-random"
