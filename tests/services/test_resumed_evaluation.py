"""An interrupted evaluation keeps its answers, and its result equals that of an uninterrupted one."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest
from at_night import at_night_after
from labs import finished, opened, smoke
from tiny_lab import (
    DROPOUT,
    RUN,
    light,  # noqa: F401
    loud,
    some_examples,
)

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import LabError, Stopped
from instruct_tune.evaluation import predict
from instruct_tune.evaluation.answer_cache import FOLDER, MOST, Unfinished, cache_of, left_behind, unfinished
from instruct_tune.evaluation.evaluate import Evaluation, evaluate
from instruct_tune.generation import generate
from instruct_tune.generation.answer import Answer
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.tokenization.prompt_template import LESSON

SETTINGS = GenerationSettings(max_new_tokens=8)
ROWS = some_examples(6)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    model = loud()
    lora.attach(model, RUN, DROPOUT, seed=1)
    return model


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Three parts of two rows, each row a batch of its own."""
    monkeypatch.setattr(predict, "ROWS_TOGETHER", 2)
    monkeypatch.setitem(generate.TOKENS_PER_BATCH, "cpu", 1)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    return tmp_path


def go(loaded: LoadedModel, folder: Path, leave_after: int | None = None, rows=ROWS, **how) -> tuple[Evaluation, int]:
    """Evaluate, stopping after ``leave_after`` answers; return the evaluation and the number of decoded answers."""
    settings, decoded = how.pop("settings", SETTINGS), []
    keep = partial(unfinished, folder, loaded, settings, about={"rows": len(rows)})
    evaluation = evaluate(
        loaded,
        RUN,
        LESSON,
        rows,
        settings,
        between_batches=lambda done, total: decoded.append(done),
        stopping=lambda: len(decoded) == leave_after,
        keep=lambda prompts: keep(prompts=prompts),
        **how,
    )
    return evaluation, len(decoded)


def same(one: Evaluation, other: Evaluation) -> bool:
    """Whether both evaluations are equal, apart from their seconds."""
    sides = {side: dataclasses.replace(getattr(one, side), seconds=0.0) for side in ("base_side", "tuned_side")}
    others = {side: dataclasses.replace(getattr(other, side), seconds=0.0) for side in sides}
    return dataclasses.replace(one, **sides) == dataclasses.replace(other, **others)


@pytest.mark.slow
@pytest.mark.parametrize("leave_after", at_night_after(2, [1, 4, 3, 11]))
@pytest.mark.parametrize("how", [{}, {"num_beams": 2}, {"do_sample": True}])
def test_an_evaluation_that_was_left_ends_as_one_that_was_not(loaded, folder, leave_after, how):
    settings = dataclasses.replace(SETTINGS, **how)
    whole = evaluate(loaded, RUN, LESSON, ROWS, settings)
    with pytest.raises(Stopped):
        go(loaded, folder, leave_after, settings=settings)
    again, decoded = go(loaded, folder, settings=settings)
    assert decoded == 12 - leave_after
    assert same(again, whole)


def test_what_was_known_of_base_is_counted_once(loaded, folder, tmp_path):
    cached_answers = partial(cache_of, tmp_path / "base", loaded, SETTINGS)
    evaluate(loaded, RUN, LESSON, ROWS[:3], SETTINGS, cached_answers=cached_answers())
    with pytest.raises(Stopped):
        go(loaded, folder, 7, cached_answers=cached_answers())
    again, _ = go(loaded, folder, cached_answers=cached_answers())
    assert again.base_remembered == 3


@pytest.mark.slow
def test_only_the_very_same_evaluation_goes_on(loaded, folder):
    with pytest.raises(Stopped):
        go(loaded, folder, 4)
    assert go(loaded, folder, rows=ROWS[:5])[1] == 10
    assert go(loaded, folder, settings=dataclasses.replace(SETTINGS, max_new_tokens=9))[1] == 12
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"trained on")
    assert go(loaded, folder)[1] == 12


def test_it_says_how_many_rows_both_sides_have_answered(loaded, folder):
    assert left_behind(folder) == []
    # Rows 1 and 2 by base and tuned, and one more by base.
    with pytest.raises(Stopped):
        go(loaded, folder, 5)
    (left,) = left_behind(folder)
    assert (left["answered"], left["rows"], left["generation"]) == (2, 6, SETTINGS.to_dict())


@pytest.mark.parametrize("damage", ["flipped", "cut", "headless", "binary"])
def test_a_damaged_line_is_answered_again(folder, damage):
    file = folder / FOLDER / "a.lines"
    kept = Unfinished(file, {"rows": 2, "sides": ["base"]})
    first, second = {0: Answer("one\ntwo", 2, True)}, {1: Answer("ü ☃", 3, False)}
    kept.add("base", first, 1.5)
    kept.add("base", second, 2.0)
    assert Unfinished(file, {}).of("base").answers == first | second
    assert Unfinished(file, {}).of("base").seconds == 3.5
    whole = file.read_bytes()
    file.write_bytes({
        "flipped": whole.replace(b"two", b"tvo"),
        "cut": whole[:-9],
        "headless": whole[9:],
        "binary": whole.replace(b"two", b"\xff\x00\n"),
    }[damage])  # fmt: skip
    expected = {"flipped": second, "cut": first, "headless": first | second, "binary": second}[damage]
    assert Unfinished(file, {}).of("base").answers == expected
    assert [left["answered"] for left in left_behind(folder)] == ([] if damage == "headless" else [1])


def test_few_are_kept_and_none_that_is_done(folder):
    for number in range(MOST + 2):
        kept = Unfinished(folder / FOLDER / f"{number}.lines", {"rows": 1, "sides": ["base"]})
        kept.add("base", {0: Answer("x", 1, True)})
    assert len(list((folder / FOLDER).iterdir())) == MOST
    kept.done()
    assert len(list((folder / FOLDER).iterdir())) == MOST - 1


def test_a_disk_that_takes_nothing_is_no_reason_to_fail(loaded, folder):
    (folder / FOLDER).write_text("in the way")
    assert same(go(loaded, folder)[0], evaluate(loaded, RUN, LESSON, ROWS, SETTINGS))


@pytest.mark.slow
def test_a_restarted_lab_goes_on(tmp_path):
    with opened(tmp_path) as lab:
        run_id = finished(lab, smoke(evaluation_rows=4))
        whole = list(lab.evaluations.stream(HOST, run_id))[-1]
        predictions = lab.evaluations.predictions(HOST, run_id)
        updates = lab.evaluations.stream(HOST, run_id)
        next(update for update in updates if update.get("done", 0) >= 6)
        lab.evaluations.stop(HOST, run_id)
        with pytest.raises(LabError, match="Stopped"):
            list(updates)
        assert "rows are kept" in lab.evaluations.progress(HOST, run_id)["error"]
    with opened(tmp_path) as lab:
        (left,) = lab.evaluations.unfinished(HOST, run_id)
        assert left["rows"] == 4
        *updates, again = lab.evaluations.stream(HOST, run_id, left["rows"], left["generation"])
        assert [update["done"] for update in updates if "done" in update][1] >= 4
        assert {name: again[name] for name in ("base", "tuned", "delta", "p_value")} == {
            name: whole[name] for name in ("base", "tuned", "delta", "p_value")
        }
        assert lab.evaluations.predictions(HOST, run_id) == predictions
        assert lab.evaluations.unfinished(HOST, run_id) == []
