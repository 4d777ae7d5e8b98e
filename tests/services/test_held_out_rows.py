"""Compare's recorded answers: the first held-out rows in the order of the split, without the dataset or a model."""

import gradio as gr
import pytest
from labs import opened, smoke

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.ui import build_ui
from instruct_tune.ui.compare.held_out import HeldOutRows
from instruct_tune.ui.compare.sharing import SharingPanel
from instruct_tune.ui.compare.text import HELD_OUT, recorded_details, recorded_sentence

EVALUATED = 200


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("rows") / "data") as lab:
        put_recorded(lab.store)
        yield lab


@pytest.fixture
def rows(lab):
    return HeldOutRows(runs=lab.runs, answerers=lab.answerers, evaluations=lab.evaluations, access=lab.access)


@pytest.fixture
def without_dataset(lab, monkeypatch):
    def fail(*_):
        raise AssertionError("the dataset is loaded")

    monkeypatch.setattr(lab.datasets, "splits", fail)


def test_an_evaluated_row_is_the_held_out_row_of_its_number(lab, rows):
    for number in range(1, EVALUATED + 1):
        row = rows.get(BEST, number)
        assert row.example == lab.answerers.held_out_row(HOST, BEST, number - 1)
        assert row.answers["tuned"]


def test_rows_behind_the_evaluated_ones_have_no_answers(lab, rows):
    row = rows.get(BEST, EVALUATED + 1)
    assert (row.answers, row.sentence) == (None, "")
    assert row.example == lab.answerers.held_out_row(HOST, BEST, EVALUATED)
    with pytest.raises(DataError, match="There is no held-out row 0"):
        rows.get(BEST, 0)


def test_evaluated_rows_are_stepped_through_without_the_dataset(rows, without_dataset):
    assert rows.first(BEST) == rows.get(BEST, 1)
    assert [rows.wrapped(BEST, number) for number in range(1, EVALUATED + 1)] == list(range(1, EVALUATED + 1))
    assert {rows.random(BEST) for _ in range(400)} <= set(range(1, EVALUATED + 1))
    with pytest.raises(AssertionError, match="the dataset is loaded"):
        rows.wrapped(BEST, EVALUATED + 1)


def test_numbers_wrap_around_all_held_out_rows(lab, rows):
    last = lab.answerers.held_out_count(HOST, BEST)
    assert last > EVALUATED
    asked = [0, 1, EVALUATED + 1, last, last + 1]
    assert [rows.wrapped(BEST, number) for number in asked] == [last, 1, EVALUATED + 1, last, 1]


def test_a_run_without_an_evaluation_has_no_first_answers(lab, rows, without_dataset):
    run = lab.store.create("not evaluated", smoke().to_dict())
    for run_id in (None, run.id):
        assert rows.first(run_id).answers is None
    assert lab.evaluations.recorded_row(HOST, BEST, -1) is None


def test_the_page_itself_has_the_first_answers(lab, without_dataset):
    components = {block.elem_id: block for block in build_ui(lab).blocks.values() if block.elem_id}
    row = lab.evaluations.recorded_row(HOST, BEST, 0)
    assert components["compare-run"].value == BEST
    shown = {"instruction": "instruction", "reference": "expected", "base": "base", "tuned": "tuned"}
    for name, box in shown.items():
        # gradio's code boxes leave out blank lines around a text.
        assert components[f"compare-{box}"].value.strip() == row[name].strip()
    recorded = lab.store.get(BEST).provenance["recorded"]["date"]
    assert f"on {recorded} (" in components["compare-state"].value.replace("\\", "")
    assert "expected words" in components["compare-tuned-diff-facts"].value
    assert f"of {EVALUATED} answers changed" in components["compare-effect-sentence"].value
    assert not components["compare-empty"].visible


def test_a_note_tells_how_recorded_answers_were_decoded(lab):
    with gr.Blocks():
        panel = SharingPanel(runs=lab.runs, access=lab.access)
    beams_now = ["beams", 8, 5, 0.8, 0.95, 42, ""]
    panel._keep(BEST, HELD_OUT, 1, "q", "", *beams_now, 1, "Greedy decoding, at most 96 new tokens.", "a", "b")
    assert "held-out row 1. Greedy decoding, at most 96 new tokens.\n" in lab.runs.get(HOST, BEST).notes


def test_recorded_answers_in_words():
    row = {"base": " ", "base_tokens": 1, "base_ended": False, "tuned": "x", "tuned_tokens": 20, "tuned_ended": True}
    assert recorded_details(row, "tuned") == "20 tokens, ended by itself"
    assert recorded_details(row, "base").endswith("1 token, **cut at the token limit**")
    assert recorded_details(row, "third") == ""
    greedy = {"max_new_tokens": 96, "max_length": None, "num_beams": 1, "do_sample": False}
    evaluation = {"time": 1795562828.0, "generation": greedy, "other_weights": "<b>Other weights.</b>"}
    sentence = recorded_sentence(evaluation, {"recorded": {"machine": "<i>CPU</i>", "date": "2026-11-24"}})
    shown = sentence.replace("\\", "")
    assert "on 2026-11-24 (" in shown
    assert "Greedy decoding, at most 96 new tokens." in sentence
    assert "Other weights." in shown
    assert "<b>" not in sentence
    assert "<i>" not in sentence
    assert "evaluation on 2026-11-2" in recorded_sentence(evaluation, {}).replace("\\", "")
