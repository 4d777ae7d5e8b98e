"""The Format tab's handlers: what is shown at once, what has to be downloaded, and what a mistake leaves as it is."""

from types import SimpleNamespace

import gradio as gr
import pytest
from labs import opened

from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.inspection.first_content import first_content
from instruct_tune.inspection.token_view import Fault
from instruct_tune.ui.as_python import AsPython
from instruct_tune.ui.browser_state import Memory
from instruct_tune.ui.form import CUSTOM_TEMPLATE, Form, shown_value
from instruct_tune.ui.format.batches import _SETTINGS
from instruct_tune.ui.format.tab import RECORDED, UNFINISHED, FormatTab
from instruct_tune.ui.format.text import token_sentence
from instruct_tune.ui.format.token_grid import grid_value

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")
MINUTE = PRESETS["minute"].to_dict()
OTHERS = ("model", "data.source", "data.filters", "data.limit", *(f"train.{name}" for name in _SETTINGS))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("format-tab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def tab(lab):
    with gr.Blocks(), gr.Tabs(), gr.Tab("Format") as place:
        form = Form()
        for name in OTHERS:
            form.add(name, gr.Textbox(shown_value(MINUTE, name)))
        for name in ("train.max_length", "data.limit"):
            form[name].value = shown_value(MINUTE, name)
        yield FormatTab(
            form,
            AsPython(form, scripts=lab.scripts, access=lab.access),
            Memory(lab.data_dir),
            place,
            configs=lab.configs,
            tokenizers=lab.tokenizers,
            datasets=lab.datasets,
            estimates=lab.estimates,
            access=lab.access,
        )


def values_of(tab, settings):
    """The inputs' values: those of a new page with ``settings`` (name → value) changed."""
    extra = {"row": tab._number, "fault": tab._fault, "step": tab._batch._step, "is_open": tab._batch._is_open}
    values = {control: control.value for control in (*tab._form.controls, *extra.values())}
    for name in _SETTINGS:
        values[tab._form[f"train.{name}"]] = shown_value(MINUTE, f"train.{name}")
    return values | {extra.get(name) or tab._form[name]: value for name, value in settings.items()}


def run(handler, tab, settings):
    """The page's updates by element id."""
    updates = {}
    for update in handler(values_of(tab, settings), SimpleNamespace(session_hash="someone")):
        updates |= update
    return {control.elem_id: update for control, update in updates.items() if control.elem_id}


def shown(tab, **settings):
    return run(tab._show, tab, settings)


def step(tab, **settings):
    return run(tab._batch._show, tab, settings)


def offers_a_download(page):
    assert page["format-next"].variant == ("secondary" if page["format-show"].visible else "primary")
    return page["format-show"].visible


TINY = {"model": "tiny-random"}


def test_the_settings_of_a_new_page_show_the_recorded_row_with_nothing_loaded(tab, lab):
    page, tokens = shown(tab), first_content("minute").tokens
    assert (page["format-sentence"], page["format-note"]) == (token_sentence(tokens), RECORDED)
    assert page["format-tokens"] == grid_value(tokens)
    assert not lab.tokenizers.has(DEFAULT_MODEL)


def test_another_row_another_template_and_another_model_are_computed(tab, lab):
    seen = []
    for settings in ({}, {"row": 2}, {"template": "alpaca"}, {"train.max_length": 30}):
        page = shown(tab, **TINY, **settings)
        assert not offers_a_download(page)
        assert page["format-note"] == ""
        seen.append(page["format-tokens"])
        assert seen.count(page["format-tokens"]) == 1
    assert "it is dropped" in page["format-sentence"]


def test_a_fault_stands_beside_the_row_as_it_is_trained(tab):
    plain, page = shown(tab, **TINY), shown(tab, **TINY, fault=Fault.EOS_MASKED.value)
    assert not plain["format-broken-row"].visible
    assert page["format-broken-row"].visible
    assert "never learns to stop" in page["format-lesson"]
    assert page["format-tokens"] == plain["format-tokens"] != page["format-broken-tokens"]


def test_a_mistake_is_one_sentence_in_place_of_the_row(tab):
    page = shown(tab, **TINY, row=99)
    assert page["format-sentence"] == "There is no training row 99\\: they go from 1 to 48\\."
    assert (page["format-prompt"], page["format-table"]) == ("", [])
    assert not offers_a_download(page)
    assert "format-row" not in page
    named = shown(tab, model="<b>no id</b>")
    assert "neither a folder on this machine nor a Hub id" in named["format-sentence"]
    assert "<b>" not in named["format-sentence"]


def test_a_faulty_custom_template_leaves_the_row_and_says_so(tab):
    faulty = {"template": CUSTOM_TEMPLATE, "template.without_input": "{instruction.__class__}"}
    assert shown(tab, **TINY, **faulty) == {"format-note": UNFINISHED}
    mended = shown(tab, **TINY, **faulty | {"template.without_input": "Q: {instruction}\nA: "})
    assert mended["format-prompt"].startswith("Q: ")


def test_what_has_to_be_downloaded_is_offered_and_not_fetched(tab, monkeypatch):
    monkeypatch.setattr(tab._datasets, "start_fetching", None)
    monkeypatch.setattr(tab._datasets, "start_loading", None)
    page = shown(tab, model="some/model")
    assert offers_a_download(page)
    assert "some/model" in page["format-sentence"]
    assert page["format-prompt"] == ""
    rows = shown(tab, **TINY, **{"data.source": "hub:some/rows"})
    assert not offers_a_download(rows)
    assert "Hugging Face Hub" in rows["format-sentence"]
    assert "some/model" in step(tab, model="some/model", is_open=True)["batch-sentence"]


def test_a_step_is_computed_while_its_tab_is_open(tab):
    assert step(tab, **TINY) == {"batch-sentence": gr.skip()}
    page = step(tab, **TINY, is_open=True)
    assert "Step 1 of 12" in page["batch-sentence"]
    assert len(page["batch-rows"].value["data"]) == 4
    assert step(tab, **TINY, is_open=True, step=99)["batch-sentence"].startswith("There is no step 99")
