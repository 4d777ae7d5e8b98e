"""Baselines beside base and tuned: equal to those computed by hand, and refused where they make no sense."""

from __future__ import annotations

import dataclasses
import json

import pytest
from labs import finished, opened, smoke
from tiny_lab import (
    DROPOUT,
    RUN,
    light,  # noqa: F401
    loud,
    some_examples,
)

from instruct_tune.config.run_config import BASELINES, GenerationSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.data.near_duplicates import nearest
from instruct_tune.data.splits import Example
from instruct_tune.errors import DataError
from instruct_tune.evaluation.answer_cache import KeptAnswers
from instruct_tune.evaluation.baselines import SHOWN, Baselines, baselines, examples_of
from instruct_tune.evaluation.bleu import score
from instruct_tune.evaluation.evaluate import evaluate
from instruct_tune.generation.answer import Answer
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.lora import BASE
from instruct_tune.tokenization.prompt_template import CHAT, LESSON, PromptTemplate

SETTINGS = GenerationSettings(max_new_tokens=8)
TRAINING, ROWS = some_examples(9)[:6], some_examples(9)[6:]


@pytest.fixture(scope="module")
def loaded():
    model = loud()
    lora.attach(model, RUN, DROPOUT, seed=1)
    return model


def beside(loaded, *names, **how):
    options = {"template": LESSON, "training": TRAINING, "settings": SETTINGS, "seed": 1} | how
    return baselines(names, loaded, rows=ROWS, **options)


def test_base_is_shown_three_training_rows_in_the_runs_own_template(loaded):
    result = evaluate(loaded, RUN, LESSON, ROWS, SETTINGS, beside=beside(loaded, "examples"))
    shown = examples_of(TRAINING, 1)
    before = "".join(f"{LESSON.render(row.instruction, row.input)}{row.output.strip()}\n\n" for row in shown)
    texts = []
    for row in ROWS:
        ids = loaded.tokenizer(before + LESSON.render(row.instruction, row.input))["input_ids"]
        texts.append(generate(loaded, [Request(tuple(ids), BASE)], SETTINGS)[0].text)
    assert [row.baselines["examples"] for row in result.predictions] == texts
    assert result.baselines["examples"].report == score(texts, [row.output for row in ROWS])


def test_examples_are_short_and_drawn_by_the_seed():
    rows = [Example(f"question {n}", "", "x" * (n + 1)) for n in range(100)] + [Example("q", "", " ")]
    drawn = examples_of(rows, 1)
    assert drawn == examples_of(list(rows), 1) != examples_of(rows, 2)
    assert len(set(drawn)) == SHOWN
    assert all(row.output.strip() and len(row.output) <= 32 for row in drawn)
    with pytest.raises(DataError, match="needs 3 training rows"):
        examples_of(rows[:2], 1)


def test_an_answer_after_examples_ends_where_the_next_one_would_begin():
    answers = {
        "examples": KeptAnswers({
            0: Answer("yes\n\nQ: More", 9, False),
            1: Answer("no", 2, False),
            2: Answer("See the FAQ: there.", 8, False),
            3: Answer("Q: at once", 5, False),
        })
    }  # fmt: skip
    prepared = dataclasses.replace(beside_nothing(), mark="Q:", count=lambda text: len(text))
    assert prepared.answers(answers)["examples"] == [
        Answer("yes", 3, True), Answer("no", 2, False), Answer("See the FAQ: there.", 8, False), Answer("", 0, True)
    ]  # fmt: skip


def beside_nothing() -> Baselines:
    from instruct_tune.evaluation.predict import AnswererPrompts

    return Baselines((AnswererPrompts("examples", BASE, [[1], [2], [3], [4]]),))


def test_the_nearest_training_row_answers_in_its_own_words(loaded):
    rows = [
        Example("Add 2 and 3.", "", "five"),
        Example("Name a colour", "", "red"),
        Example("Name a colour", "", "no"),
    ]
    result = baselines(("nearest",), loaded, LESSON, [Example("name a  COLOR", "", "")], rows, SETTINGS, 1)
    assert [answer.text for answer in result.given["nearest"]] == ["red"]
    assert nearest(["nothing alike"], ["zzz"]) == [0]


def test_what_makes_no_sense_is_refused(loaded):
    with pytest.raises(DataError, match="chat template itself"):
        beside(loaded, "chat", template=CHAT)
    with pytest.raises(DataError, match="max_length counts the prompt"):
        beside(loaded, "examples", settings=GenerationSettings(max_new_tokens=None, max_length=50))
    bare = PromptTemplate("bare", "{instruction}\nAnswer: ", "{instruction}\n{input}\nAnswer: ")
    with pytest.raises(DataError, match="nothing tells where an answer ends"):
        beside(loaded, "examples", template=bare)


@pytest.mark.slow
def test_they_leave_base_and_tuned_as_they_are_and_are_in_json_and_file(tmp_path):
    with opened(tmp_path) as lab:
        run_id = finished(lab, smoke())
        alone = list(lab.evaluations.stream(HOST, run_id))[-1]
        evaluation = list(lab.evaluations.stream(HOST, run_id, baselines=["nearest", "examples"]))[-1]
        assert (evaluation["base"], evaluation["tuned"], evaluation["p_value"]) == (
            alone["base"],
            alone["tuned"],
            alone["p_value"],
        )
        assert alone["baselines"] == {}
        assert list(evaluation["baselines"]) == ["examples", "nearest"]
        rows = lab.evaluations.predictions(HOST, run_id)
        for name, report in evaluation["baselines"].items():
            expected = score([row[f"baseline_{name}"] for row in rows], [row["reference"] for row in rows])
            assert {key: report[key] for key in expected.to_dict()} == json.loads(json.dumps(expected.to_dict()))
        assert next(lab.evaluations.stream(HOST, run_id, baselines=["examples", "nearest"]))["total"] == 12
        for odd in (["best"], "chat", [1]):
            with pytest.raises(DataError, match=", ".join(BASELINES)):
                lab.evaluations.start(HOST, run_id, baselines=odd)
