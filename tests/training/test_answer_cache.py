"""Cache of base's answers: base decodes a prompt once, and an answer is reused only for exactly the same request."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from tiny_lab import (
    DROPOUT,
    RUN,
    light,  # noqa: F401
    loud,
    some_examples,
)

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.evaluation import predict
from instruct_tune.evaluation.answer_cache import CachedAnswers, cache_of
from instruct_tune.evaluation.evaluate import Evaluation, evaluate
from instruct_tune.generation.answer import Answer
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.models.lora import BASE
from instruct_tune.tokenization.prompt_template import ALPACA, LESSON

SETTINGS = GenerationSettings(max_new_tokens=6)
ROWS = some_examples(5)
ANSWERS = {(1, 2): Answer("one\ntwo", 2, True), (12,): Answer("ü \ufffd <b>", 3, False), (3,): Answer("", 0, True)}


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    model = loud()
    lora.attach(model, RUN, DROPOUT, seed=1)
    lora.attach(model, "second", DROPOUT, seed=2)
    return model


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The speaker of each request that is decoded, in order."""
    adapter_names: list[str] = []
    real = predict.generate

    def counting(loaded, requests, *arguments, **named):
        adapter_names.extend(request.adapter_name for request in requests)
        return real(loaded, requests, *arguments, **named)

    monkeypatch.setattr(predict, "generate", counting)
    return adapter_names


def evaluated(loaded: LoadedModel, folder: Path, run: str = RUN, rows=ROWS, template=LESSON, **how) -> Evaluation:
    settings = dataclasses.replace(SETTINGS, **how)
    return evaluate(loaded, run, template, rows, settings, cached_answers=cache_of(folder, loaded, settings))


def base_answers(evaluation: Evaluation) -> list[tuple[str, int, bool]]:
    return [(row.base, row.base_tokens, row.base_ended) for row in evaluation.predictions]


def test_a_second_run_pays_for_its_tuned_half_alone(loaded, tmp_path, decoded):
    first = evaluated(loaded, tmp_path)
    assert (first.base_remembered, decoded.count(BASE)) == (0, 5)
    del decoded[:]
    progress = []
    second = evaluate(
        loaded,
        "second",
        LESSON,
        ROWS,
        SETTINGS,
        between_batches=lambda *numbers: progress.append(numbers),
        cached_answers=cache_of(tmp_path, loaded, SETTINGS),
    )
    assert decoded == ["second"] * 5
    assert second.base_remembered == second.to_dict()["base_remembered"] == 5
    assert base_answers(second) == base_answers(first)
    assert second.base == first.base
    assert progress[-1] == (10, 10)


def test_more_rows_ask_for_those_that_are_new(loaded, tmp_path, decoded):
    evaluated(loaded, tmp_path, rows=ROWS[1:3])
    del decoded[:]
    evaluation = evaluated(loaded, tmp_path)
    assert (evaluation.base_remembered, decoded.count(BASE)) == (2, 3)
    assert base_answers(evaluation) == base_answers(evaluate(loaded, RUN, LESSON, ROWS, SETTINGS))


@pytest.mark.slow
def test_another_question_is_answered_anew(loaded, tmp_path, monkeypatch):
    assert evaluated(loaded, tmp_path).base_remembered == 0
    assert evaluated(loaded, tmp_path, max_new_tokens=7).base_remembered == 0
    assert evaluated(loaded, tmp_path, num_beams=2).base_remembered == 0
    assert evaluated(loaded, tmp_path, num_beams=2, early_stopping=True).base_remembered == 0
    assert evaluated(loaded, tmp_path, template=ALPACA).base_remembered == 0
    assert evaluated(loaded, tmp_path).base_remembered == 5
    with monkeypatch.context() as other:
        other.setattr(loaded, "weights", dataclasses.replace(loaded.weights, sha256="another"))
        assert evaluated(loaded, tmp_path).base_remembered == 0
    with monkeypatch.context() as other:
        other.setattr("instruct_tune.evaluation.answer_cache.DECODING", 0)
        assert evaluated(loaded, tmp_path).base_remembered == 0


def test_sampled_answers_are_not_kept(loaded, tmp_path):
    assert cache_of(tmp_path, loaded, GenerationSettings(do_sample=True)) is None


# The files


def cached_answers(folder: Path, name: str = "a", most_bytes: int = 10_000) -> CachedAnswers:
    return CachedAnswers(folder / f"{name}.lines", most_bytes)


def answers_in(cache: CachedAnswers) -> dict[tuple[int, ...], Answer]:
    hits = cache.known(dict(enumerate(ANSWERS)))
    return {list(ANSWERS)[number]: answer for number, answer in hits.items()}


def test_what_was_put_there_is_found(tmp_path):
    cache = cached_answers(tmp_path / "new")
    assert answers_in(cache) == {}
    cache.add(ANSWERS)
    assert answers_in(cache) == ANSWERS
    assert answers_in(cached_answers(tmp_path / "new")) == ANSWERS


@pytest.mark.parametrize("damage", ["flipped", "cut", "binary"])
def test_a_damaged_line_is_as_good_as_none(tmp_path, damage):
    cached_answers(tmp_path).add(ANSWERS)
    file = tmp_path / "a.lines"
    whole = file.read_bytes()
    damaged = {
        "flipped": whole.replace(b"two", b"tvo"),
        "cut": whole[:-4],
        "binary": whole.replace(b"two", b"\xff\x00\n"),
    }[damage]
    file.write_bytes(damaged)
    again = cached_answers(tmp_path)
    missing = (3,) if damage == "cut" else (1, 2)
    assert answers_in(again) == {prompt: answer for prompt, answer in ANSWERS.items() if prompt != missing}
    again.add({missing: ANSWERS[missing]})
    assert answers_in(cached_answers(tmp_path)) == ANSWERS


def test_what_was_used_the_longest_time_ago_makes_room(tmp_path):
    for age, name in ((30, "a"), (20, "b"), (10, "c")):
        cached_answers(tmp_path, name).add(ANSWERS)
        os.utime(tmp_path / f"{name}.lines", (age * -1 + 1_000_000,) * 2)
    size = (tmp_path / "a.lines").stat().st_size
    assert answers_in(cached_answers(tmp_path, "a")) == ANSWERS
    # "a" was just read, so it is the most recently used file; the limit holds three files.
    cached_answers(tmp_path, "d", most_bytes=3 * size).add(ANSWERS)
    assert {file.name for file in tmp_path.iterdir()} == {"a.lines", "c.lines", "d.lines"}
    cached_answers(tmp_path, "e", most_bytes=size - 1).add(ANSWERS)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_is_no_reason_to_fail(loaded, tmp_path):
    (tmp_path / "file").write_text("in the way")
    evaluation = evaluated(loaded, tmp_path / "file")
    assert evaluation.base_remembered == 0
    assert base_answers(evaluation) == base_answers(evaluate(loaded, RUN, LESSON, ROWS, SETTINGS))
