"""The fold As Python: which control each line leads to, and what a form with a fault shows."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import gradio as gr
import pytest
from labs import opened

from instruct_tune.config.presets import PRESETS
from instruct_tune.script.code import TABS
from instruct_tune.ui import build_ui
from instruct_tune.ui.as_python import AsPython


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """The folds of a page, and the page."""
    built = []
    made = AsPython.__init__

    def noted(self, *args, **kwargs):
        made(self, *args, **kwargs)
        built.append(self)

    with opened(tmp_path_factory.mktemp("folds")) as lab, pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsPython, "__init__", noted)
        page = build_ui(lab)
        yield built[0], page


def shown(folds: AsPython, tab: str, values: dict) -> dict:
    return json.loads(base64.b64decode(folds._value(tab, values)["packed"]))


@pytest.mark.parametrize("tab", TABS)
def test_every_line_that_carries_a_setting_leads_to_its_control(folds, tab):
    as_python, page = folds
    content = shown(as_python, tab, filled(as_python))
    ids = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
    carried = {name for section in content["sections"] for _, settings in section["lines"] for name in settings}
    assert carried & set(content["places"])
    for name, place in content["places"].items():
        assert ids[place["id"]] in (as_python._form.named.get(name), as_python._folds[tab].own.get(name))
        assert all(isinstance(ids[fold], gr.Accordion) for fold in place["folds"])
        assert place["tabs"][0] in ("Data", "Format", "Train", "Compare", "Evaluate")


def test_a_form_with_a_fault_shows_what_to_mend(folds):
    as_python, _ = folds
    values = filled(as_python)
    values[as_python._form["train.learning_rate"]] = "a lot"
    content = shown(as_python, "train", values)
    assert "Learning rate" in content["fault"]
    assert "sections" not in content


def test_a_tabs_own_controls_count_in_place_of_the_forms(folds):
    as_python, page = folds
    ids = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
    values = filled(as_python) | {
        ids["compare-way"]: "beams",
        ids["compare-beams"]: 7,
        ids["evaluate-tokenize"]: "char",
    }
    lines = {tab: text(shown(as_python, tab, values)) for tab in ("compare", "evaluate")}
    assert "num_beams=7," in lines["compare"]
    assert "early_stopping=True," in lines["compare"]
    assert 'BLEU(tokenize="char")' in lines["evaluate"]
    saved = Path(as_python._writing("compare", "py")(values)).read_text()
    assert lines["compare"].splitlines()[-1] in saved
    assert "num_beams=7," in saved
    assert 'BLEU(tokenize="char")' in Path(as_python._writing("evaluate", "py")(values)).read_text()


def filled(as_python: AsPython) -> dict:
    """The controls' values on a new page with the preset quick."""
    return {each: each.value for each in as_python._controls} | as_python._form.fill(PRESETS["quick"])


def text(content: dict) -> str:
    return "\n".join(text for section in content["sections"] for text, _ in section["lines"])
