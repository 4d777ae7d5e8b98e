"""Settings that a browser remembers between visits: they are restored, and invalid ones do no harm."""

from __future__ import annotations

import json

import gradio as gr
import pytest

from instruct_tune.ui.browser_state import (
    LONGEST_TEXT,
    Memory,
    first_values,
    recent_sources,
    restored,
    restored_parent,
    with_recent,
)
from instruct_tune.ui.form import Form
from instruct_tune.ui.number_box import OpenSlider


@pytest.fixture(scope="module")
def form():
    form = Form()
    with gr.Blocks():
        form.add("model", gr.Dropdown(["a", "b"], value="a", allow_custom_value=True))
        form.add("train.optim", gr.Dropdown(["adamw", "sgd"], value="adamw"))
        form.add("data.limit", gr.Number(48, precision=0, minimum=1))
        form.add("lora.r", OpenSlider(1, 64, 16, step=1))
        form.add("generation.do_sample", gr.Checkbox(False))
        form.add("data.split", gr.Textbox("train"))
    return form


def test_a_memory_fills_the_form(form):
    stored = {"model": "my/own", "data.limit": None, "lora.r": 128, "generation.do_sample": True, "data.split": "test"}
    assert restored(form, stored) == {form[name]: value for name, value in stored.items()}


@pytest.mark.parametrize("kept", [None, "text", 3, [], ["model"], {}, {"gone": 1}, {"": None}])
def test_a_memory_of_another_shape_is_ignored(form, kept):
    assert restored(form, kept) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 3), ("model", "x" * (LONGEST_TEXT + 1)), ("model", ["a"]),
        ("train.optim", "gone"), ("train.optim", None),
        ("data.limit", "48"), ("data.limit", 0), ("data.limit", True), ("data.limit", float("nan")),
        ("lora.r", "65"), ("lora.r", None), ("lora.r", {}), ("lora.r", float("inf")), ("lora.r", True),
        ("generation.do_sample", "yes"), ("data.split", 1), ("data.split", None),
    ],
)  # fmt: skip
def test_a_value_its_control_could_not_have_is_ignored_and_the_rest_restored(form, name, value):
    other = "data.split" if name != "data.split" else "model"
    assert restored(form, {name: value, other: "b"}) == {form[other]: "b"}


@pytest.mark.parametrize("kept", [None, 3, [], {}, {"parent": None}, {"parent": ""}, {"parent": ["a"]}])
def test_no_run_to_continue_is_stored(kept):
    assert restored_parent(kept) is None
    assert restored_parent({"parent": "20260101-000000-abcd"}) == "20260101-000000-abcd"


def test_resetting_shows_what_the_page_began_with(form):
    assert first_values(form)[form["data.limit"]] == 48
    assert first_values(form)[form["model"]] == "a"


def test_a_restart_finds_what_browsers_kept_and_another_lab_does_not(tmp_path):
    (tmp_path / "other").mkdir()
    with gr.Blocks():
        before, after, other = Memory(tmp_path), Memory(tmp_path), Memory(tmp_path / "other")
    for name in ("token", "form", "recent"):
        was, now, elsewhere = (getattr(memory, name) for memory in (before, after, other))
        assert (was.storage_key, was.secret) == (now.storage_key, now.secret)
        assert was.storage_key != elsewhere.storage_key


@pytest.mark.parametrize("damage", ["", "{", "[]", json.dumps({"key": "only"})])
def test_damaged_keys_are_made_anew(tmp_path, damage):
    (tmp_path / "browser.json").write_text(damage)
    with gr.Blocks():
        assert Memory(tmp_path).token.storage_key == Memory(tmp_path).token.storage_key


def test_recent_sources_are_the_last_six_each_once():
    recent: list[str] = []
    for source in ["a", "b", "c", "a", "d", "e", "f", "g"]:
        recent = with_recent(recent, source)
    assert recent == ["g", "f", "e", "d", "a", "c"]
    assert recent_sources({"not": "a list"}) == recent_sources("text") == recent_sources(None) == []
    assert recent_sources([1, "a", "", "x" * 501, None]) == ["a"]
