"""Two or three answers at once (base, runs, checkpoints, adapter strengths) equal those decoded alone."""

from __future__ import annotations

import threading

import pytest
from labs import cache_for, finished, opened, smoke

from instruct_tune.compute import model_host
from instruct_tune.compute.answer_work import Answerer
from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.errors import DataError
from instruct_tune.models import lora
from instruct_tune.runs.examples import put_recorded
from instruct_tune.services import inference
from instruct_tune.services.answerers import read_answerers
from instruct_tune.ui.compare import batch

pytestmark = pytest.mark.usefixtures("one_thread")
QUESTION = ("Say hi", "", {"max_new_tokens": 12})
LOUD = {"learning_rate": 0.3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None}


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("many") / "data") as lab:
            yield lab, *(finished(lab, smoke(train={**LOUD, "seed": seed}, lora={"r": 4})) for seed in (1, 2))


def together(lab, *answerers):
    """The answers of ``answerers``, decoded together; checks that no copied adapter stays on the model."""
    *_, last = lab.inference.compare_many(HOST, answerers, *QUESTION)
    assert (last["done"], last["0_tokens"]) == (True, 12)
    assert all("@" not in name for name in lora.names(lab.models._loaded))
    return [last[str(number)] for number in range(len(answerers))]


def alone(lab, run_id, strength=1.0):
    *_, last = lab.inference.compare(HOST, run_id, *QUESTION, strength=strength)
    return last


@pytest.mark.slow
def test_each_says_what_it_says_alone(two_runs):
    lab, one, other = two_runs
    expected = [alone(lab, one)["base"], alone(lab, one)["tuned"], alone(lab, other)["tuned"]]
    assert len(set(expected)) == 3
    assert together(lab, {"run_id": "base"}, {"run_id": one}, {"run_id": other}) == expected
    assert together(lab, {"run_id": other}, {"run_id": "base"}) == expected[2::-2]


def test_one_run_at_three_strengths(two_runs):
    lab, one, _ = two_runs
    strengths = (1.0, 0.3, 0)
    expected = [alone(lab, one, strength)["tuned"] for strength in strengths]
    assert len(set(expected)) == 3
    assert together(lab, *({"run_id": one, "strength": each} for each in strengths)) == expected
    assert alone(lab, one)["tuned"] == expected[0]


def test_a_run_beside_its_earlier_self(two_runs):
    lab, one, _ = two_runs
    first, last, now = together(lab, {"run_id": one, "step": 1}, {"run_id": one, "step": 4}, {"run_id": one})
    assert last == now != first


def test_memory_for_one_adapter_is_enough_for_those_who_speak_together(two_runs, monkeypatch):
    lab, one, other = two_runs
    monkeypatch.setattr(model_host, "MAX_ADAPTERS", 1)
    expected = [alone(lab, one)["tuned"], alone(lab, other)["tuned"]]
    assert together(lab, {"run_id": other}, {"run_id": one}) == expected[::-1]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("base", "Name 2 or 3"),
        ([{"run_id": "base"}], "Name 2 or 3"),
        ([{"run_id": "x"}] * 4, "Name 2 or 3"),
        ([{"run_id": "base"}] * 2, "name a run"),
        ([{"run_id": "base"}, "x"], "object with a run_id"),
        ([{"run_id": "base"}, {"run_id": 3}], "object with a run_id"),
        ([{"run_id": "base"}, {"run_id": "x", "evil": 1}], "object with a run_id"),
        ([{"run_id": "base"}, {"run_id": "x", "strength": float("nan")}], "from 0 to"),
        ([{"run_id": "base"}, {"run_id": "x", "strength": 10**400}], "from 0 to"),
        ([{"run_id": "base"}, {"run_id": "x", "step": True}], "whole number"),
        ([{"run_id": "base", "step": 3}, {"run_id": "x"}], "no checkpoints"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(given, wanted):
    with pytest.raises(DataError, match=wanted):
        read_answerers(given)


def test_a_checkpoint_that_is_not_kept_is_reported_with_those_that_are(two_runs):
    lab, one, _ = two_runs
    with pytest.raises(DataError, match="no checkpoint of step 99: it has kept those of 1, 2, 3, 4"):
        next(lab.inference.compare_many(HOST, [{"run_id": "base"}, {"run_id": one, "step": 99}], *QUESTION))


def test_other_base_models_do_not_answer_together(two_runs):
    lab, one, _ = two_runs
    put_recorded(lab.store)
    with pytest.raises(DataError, match="different base models"):
        next(lab.inference.compare_many(HOST, [{"run_id": one}, {"run_id": "recorded-good"}], *QUESTION))


def test_copies_have_names_of_their_own():
    copies = {Answerer("r", step, strength).adapter for step in (None, 1, 15) for strength in (1, 0.5, 1.5)}
    assert len(copies) == 9
    assert not any("." in name for name in copies)
    assert Answerer("r").adapter == "r"


def test_many_rows_are_each_answered_as_alone(two_runs, monkeypatch):
    lab, one, other = two_runs
    monkeypatch.setattr(inference, "ROWS_PER_JOB", 2)
    answerers = [{"run_id": "base"}, {"run_id": one}, {"run_id": other}]
    rows = [("Say hi", ""), ("Say no", "to this"), ("Count", "")]
    counts, answers = zip(
        *((len(answered), answered) for answered in lab.inference.compare_rows(HOST, answerers, rows, QUESTION[2])),
        strict=True,
    )
    assert counts == (2, 3)
    for (instruction, input_text), answered in zip(rows, answers[-1], strict=True):
        *_, last = lab.inference.compare_many(HOST, answerers, instruction, input_text, QUESTION[2])
        assert [answer.text for answer in answered] == [last["0"], last["1"], last["2"]]


def test_a_stop_keeps_the_rows_that_are_whole(two_runs, monkeypatch):
    lab, one, _ = two_runs
    monkeypatch.setattr(inference, "ROWS_PER_JOB", 1)
    stop, counts = threading.Event(), []
    for done in lab.inference.compare_rows(
        HOST, [{"run_id": "base"}, {"run_id": one}], [("Say hi", "")] * 5, QUESTION[2], stop
    ):
        counts.append(len(done))
        if len(done) == 2:
            stop.set()
    assert counts == [1, 2]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [([], "Ask 1 to 50"), ([("x", "")] * 51, "Ask 1 to 50"), ([("x", ""), (" ", "")], "Type an instruction")],
)
def test_too_few_or_too_many_rows_are_refused(two_runs, rows, wanted):
    lab, one, _ = two_runs
    with pytest.raises(DataError, match=wanted):
        next(lab.inference.compare_rows(HOST, [{"run_id": "base"}, {"run_id": one}], rows))


def test_who_can_join_is_the_run_its_checkpoints_and_others_of_its_model(two_runs):
    lab, one, other = two_runs
    put_recorded(lab.store)
    joining = [(run.id, step) for run, step in lab.inference.comparable(HOST, one)]
    assert joining == [(one, None), (one, 1), (one, 2), (one, 3), (one, 4), (other, None)]
    lab.store.update(other, owner=known_by("the secret of its owner").id)
    try:
        stranger = known_by("the secret of somebody else")
        assert other not in [run.id for run, _ in lab.inference.comparable(stranger, one)]
    finally:
        lab.store.update(other, owner=None)


def test_a_third_run_that_is_called_like_another_column_has_a_column():
    assert batch._distinct(["Base", "Tuned", "Tuned"]) == ["Base", "Tuned", "Tuned (third)"]
    assert batch._distinct(["Base", "Tuned", "instruction"]) == ["Base", "Tuned", "instruction (third)"]
