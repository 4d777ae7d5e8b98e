"""An evaluation equals answers of base and tuned decoded row by row, and their texts scored by hand."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import pytest
from tiny_lab import (
    DROPOUT,
    RUN,
    go,
    light,  # noqa: F401
    loud,
    some_examples,
)

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.data.splits import Example
from instruct_tune.errors import DataError, Stopped
from instruct_tune.evaluation import predict
from instruct_tune.evaluation.bleu import paired_test, score, sentence_chrf
from instruct_tune.evaluation.evaluate import Prediction, evaluate, summarise
from instruct_tune.generation import generate as generation
from instruct_tune.generation.answer import Answer
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.models.lora import BASE
from instruct_tune.tokenization.encode import encode_prompts
from instruct_tune.tokenization.prompt_template import ALPACA, LESSON

SETTINGS = GenerationSettings(max_new_tokens=12)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> LoadedModel:
    loaded = loud()
    lora.attach(loaded, RUN, DROPOUT, seed=1)
    go(loaded, tmp_path_factory.mktemp("tuned"))
    return loaded


@pytest.fixture(scope="module")
def held_out(tuned) -> list[Example]:
    """Rows, with and without input, whose references share words with the answers, so that BLEU is above 0 and
    differs."""
    rows = [dataclasses.replace(row, input="" if n % 2 else f"number {n}") for n, row in enumerate(some_examples(6))]
    base, other = (answers_of(tuned, rows, adapter_name) for adapter_name in (BASE, RUN))
    halves = [
        f"the first of all words {b.text} and {t.text if n % 3 else ''} so it is"
        for n, (b, t) in enumerate(zip(base, other, strict=True))
    ]
    return [dataclasses.replace(row, output=half) for row, half in zip(rows, halves, strict=True)]


def prompts_of(loaded: LoadedModel, rows: list[Example], template=LESSON) -> list[list[int]]:
    return encode_prompts(loaded.tokenizer, template, [(row.instruction, row.input) for row in rows])


def answers_of(loaded: LoadedModel, rows: list[Example], adapter_name: str, template=LESSON) -> list[Answer]:
    """The answers, each row decoded alone."""
    prompts = prompts_of(loaded, rows, template)
    return [generate(loaded, [Request(tuple(prompt), adapter_name)], SETTINGS)[0] for prompt in prompts]


@pytest.mark.slow
@pytest.mark.parametrize("template", [LESSON, ALPACA])
def test_an_evaluation_is_what_one_gets_by_hand(tuned, held_out, template):
    result = evaluate(tuned, RUN, template, held_out, SETTINGS)
    base, other = (answers_of(tuned, held_out, adapter_name, template) for adapter_name in (BASE, RUN))
    assert base != other
    references = [row.output for row in held_out]
    base_texts, tuned_texts = [a.text for a in base], [a.text for a in other]
    assert result.base == score(base_texts, references)
    assert result.tuned == score(tuned_texts, references)
    assert result.p_value == paired_test(base_texts, tuned_texts, references)
    assert result.delta == result.tuned.bleu - result.base.bleu
    assert (result.run_id, result.generation) == (RUN, SETTINGS)
    assert result.predictions == tuple(
        Prediction(
            row.instruction,
            row.input,
            row.output,
            b.text,
            t.text,
            b.ended,
            t.ended,
            b.tokens,
            t.tokens,
            round(sentence_chrf(b.text, row.output), 2),
            round(sentence_chrf(t.text, row.output), 2),
        )
        for row, b, t in zip(held_out, base, other, strict=True)
    )


def test_the_two_sides_differ(tuned, held_out):
    """Otherwise the tests above would not notice mixed-up sides."""
    result = evaluate(tuned, RUN, LESSON, held_out, SETTINGS)
    assert result.base.chrf != result.tuned.chrf
    assert result.base.sys_len != result.tuned.sys_len or result.base.bleu != result.tuned.bleu


def test_the_public_json(tuned, held_out):
    result = evaluate(tuned, RUN, LESSON, held_out, SETTINGS)
    public = json.loads(json.dumps(result.to_dict()))
    assert public["run_id"] == RUN
    assert public["rows"] == 6
    assert public["generation"] == SETTINGS.to_dict()
    assert public["base"] == json.loads(json.dumps(result.base.to_dict()))
    assert public["tuned"] == json.loads(json.dumps(result.tuned.to_dict()))
    assert (public["delta"], public["p_value"]) == (result.delta, result.p_value)
    assert "predictions" not in public


def test_progress_counts_both_sides(tuned, held_out, monkeypatch):
    monkeypatch.setitem(generation.TOKENS_PER_BATCH, "cpu", 250)
    progress = []
    evaluate(tuned, RUN, LESSON, held_out, SETTINGS, between_batches=lambda *numbers: progress.append(numbers))
    done = [number for number, _ in progress]
    assert {total for _, total in progress} == {12}
    assert all(before < after for before, after in pairwise(done))
    assert len(done) > 2
    assert 6 in done
    assert done[-1] == 12


def test_a_stop_ends_an_evaluation(tuned, held_out):
    progress = []
    with pytest.raises(Stopped):
        evaluate(
            tuned,
            RUN,
            LESSON,
            held_out,
            SETTINGS,
            between_batches=lambda *numbers: progress.append(numbers),
            stopping=lambda: bool(progress),
        )
    # Between base and tuned.
    assert progress == [(6, 12)]


def test_no_rows_are_an_error(tuned):
    with pytest.raises(DataError) as caught:
        evaluate(tuned, RUN, LESSON, [], SETTINGS)
    assert str(caught.value) == "There are no held-out rows to evaluate on: raise data.test_size or use more data."


def test_few_rows_have_no_p_value(tuned, held_out):
    result = evaluate(tuned, RUN, LESSON, held_out[:1], SETTINGS)
    assert result.p_value is None
    assert result.base.ci is None
    assert result.to_dict()["rows"] == 1
    # As likely as heads or tails five times alike, which is no evidence, whatever the bootstrap says.
    better, worse = [Answer(f"say it {n} times", 4, True) for n in range(6)], [Answer("say no", 2, True)] * 6
    rows = [Example("Say", "", answer.text) for answer in better]
    few = summarise(RUN, rows[:5], SETTINGS, worse[:5], better[:5])
    assert (few.delta > 50, few.p_value) == (True, None)
    assert summarise(RUN, rows, SETTINGS, worse, better).p_value < 0.05


def test_who_ends_by_itself_is_counted():
    rows = some_examples(3)
    base = [Answer("a", 1, True), Answer("b", 1, False), Answer("", 0, False)]
    tuned = [Answer("c", 1, True), Answer("d", 1, True), Answer("", 0, True)]
    result = summarise(RUN, rows, SETTINGS, base, tuned)
    public = result.to_dict()
    assert [public[f"base_{name}"] for name in ("ended", "hit_limit", "no_room", "empty")] == [1, 1, 1, 1]
    assert (public["tuned_ended"], public["tuned_hit_limit"], "tuned_no_room" in public) == (3, 0, False)
    assert public["tuned_empty"] == 1
    assert (public["base_tokens"], public["base_mean_tokens"], public["identical"]) == (2, 2 / 3, 1)
    assert [(p.base, p.tuned) for p in result.predictions] == [("a", "c"), ("b", "d"), ("", "")]


def test_base_cut_to_the_length_of_the_tuned_answers_shows_what_stopping_is_worth():
    """The tuned side gives base's text, cut at the right place: the whole gain comes from stopping."""
    rows = [dataclasses.replace(row, output="one two three four five") for row in some_examples(3)]
    base = [Answer("one two three four five six seven eight nine ten", 9, False)] * 3
    tuned = [Answer("one two three four five", 5, True)] * 3
    public = summarise(RUN, rows, SETTINGS, base, tuned).to_dict()
    assert public["base"]["bleu"] < 60 < 99 < public["base_cut_bleu"]
    assert public["base_cut_bleu"] == pytest.approx(public["tuned"]["bleu"])
    # A tuned answer that was cut itself tells nothing about stopping.
    cut = [Answer("one two three four five", 5, False)] * 3
    public = summarise(RUN, rows, SETTINGS, base, cut).to_dict()
    assert public["base_cut_bleu"] == public["base"]["bleu"]


def test_rows_are_answered_in_even_parts_of_like_prompts():
    prompts = [[0] * (length % 7 + 1) for length in range(70)]
    parts = predict.parts_of(prompts)
    assert [len(part) for part in parts] == [23, 23, 24]
    assert sorted(row for part in parts for row in part) == list(range(70))
    lengths = [len(prompts[row]) for part in parts for row in part]
    assert lengths == sorted(lengths, reverse=True)


def test_estimates_come_while_rows_are_left(tuned, held_out, monkeypatch):
    monkeypatch.setattr(predict, "ROWS_TOGETHER", 2)
    estimates = []
    whole = evaluate(tuned, RUN, LESSON, held_out, SETTINGS, on_estimate=estimates.append)
    assert [estimate.rows for estimate in estimates] == [2, 4]
    order = [row for part in predict.parts_of(prompts_of(tuned, held_out)) for row in part][:4]
    answered = [whole.predictions[row] for row in order]
    assert estimates[1].tuned == score([p.tuned for p in answered], [p.reference for p in answered]).bleu
    assert estimates[1].base == score([p.base for p in answered], [p.reference for p in answered]).bleu


def test_answers_of_another_number_of_rows_are_refused():
    rows = some_examples(2)
    one, two = [Answer("a", 1, True)], [Answer("a", 1, True)] * 2
    with pytest.raises(ValueError, match="shorter"):
        summarise(RUN, rows, SETTINGS, one, two)


def test_a_tuned_side_that_is_base_does_not_differ(held_out):
    """A fresh adapter changes nothing: the same answers, no difference, and no evidence of one."""
    loaded = loud()
    lora.attach(loaded, "fresh", DROPOUT, seed=1)
    result = evaluate(loaded, "fresh", LESSON, held_out, SETTINGS)
    assert all(p.base == p.tuned for p in result.predictions)
    assert (result.delta, result.p_value) == (0, 1)
    assert result.base == result.tuned
