"""Memorised training rows: what counts as exact, and the verdict on a run."""

from __future__ import annotations

import pytest
from labs import PATIENCE, cache_for, finished, opened, smoke
from tiny_lab import NO_DROPOUT, RUN, light, tiny, tiny_with  # noqa: F401

from instruct_tune.compute.training_work import TrainingWork
from instruct_tune.config.run_config import RunConfig, TrainSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import Example
from instruct_tune.errors import Stopped
from instruct_tune.generation.answer import Answer
from instruct_tune.generation.generate import Request
from instruct_tune.tokenization.encode import tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.training import memorization
from instruct_tune.training.memorization import Memorization, measure_memorization, verdict

ROWS = [Example("One", "", "aaa"), Example("Two, please", "", "aaa")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return cache_for(tmp_path_factory)


@pytest.fixture
def lab(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache))
    with opened(tmp_path / "data") as lab:
        yield lab


def tokenised(loaded, rows, max_length=1024):
    return tokenize_examples(loaded.tokenizer, LESSON, rows, max_length)


def answering(monkeypatch, *answers):
    """Make the model give these answers, (text, whether it ended by itself); return the list of its calls."""
    calls = []

    def generate(loaded, requests, settings, **options):
        calls.append((requests, settings))
        return [Answer(text, len(text), ended) for text, ended in answers]

    monkeypatch.setattr(memorization, "generate", generate)
    return calls


def test_only_the_very_text_with_its_end_is_exact(monkeypatch):
    loaded = tiny()
    rows = tokenised(loaded, [Example("One", "", "aaa")] * 5)
    calls = answering(monkeypatch, ("aaa", True), ("aaa", False), ("aab", True), ("aaa ", True), ("aa", True))
    assert measure_memorization(loaded, RUN, rows, lambda: False) == Memorization(rows=5, exact=1)
    [(requests, settings)] = calls
    # The row's own prompt, as trained, and enough tokens for the answer and its end.
    assert requests == [Request(row.input_ids[: row.prompt_length], RUN) for row in rows]
    assert (settings.max_new_tokens, settings.num_beams, settings.do_sample) == (4, 1, False)


def test_a_row_that_was_cut_has_no_end_to_learn(monkeypatch):
    loaded = tiny()
    whole = tokenised(loaded, [Example("One", "", "abc")])[0]
    cut = tokenised(loaded, [Example("One", "", "abc")] * 3, max_length=len(whole.input_ids) - 2)
    assert cut[0].truncated == 2
    answering(monkeypatch, ("ab", False), ("abd", True), ("ac", False))
    assert measure_memorization(loaded, RUN, cut, lambda: False) == Memorization(3, 2)


def test_an_untrained_adapter_knows_nothing():
    loaded = tiny_with(NO_DROPOUT)
    assert measure_memorization(loaded, RUN, tokenised(loaded, ROWS), lambda: False) == Memorization(2, 0)


def test_a_stop_is_heard():
    loaded = tiny_with(NO_DROPOUT)
    with pytest.raises(Stopped):
        measure_memorization(loaded, RUN, tokenised(loaded, ROWS), lambda: True)


@pytest.mark.parametrize(
    ("exact", "first", "last", "expected"),
    [
        (8, 1.94, 0.0213, "It learned 8 of 8 answers by heart, loss 1.9 → 0.021: the pipeline learns."),
        (6, 1.94, 0.0213, "It learned 6 of 8 answers by heart, loss 1.9 → 0.021: the pipeline learns."),
        (5, 1.94, 0.5, "It learned 5 of 8 answers by heart, loss 1.9 → 0.5: it learns, but it was not given the time"),
        (0, 1.94, 1.9, "It learned 0 of 8 answers by heart, loss 1.9 → 1.9: it hardly learns; look at"),
    ],
)
def test_the_verdict(exact, first, last, expected):
    assert verdict(Memorization(8, exact), first, last, TrainSettings(), 12).startswith(expected)


@pytest.mark.parametrize(
    ("settings", "last", "words"),
    [
        (TrainSettings(), 0.5, "raise train.num_train_epochs"),
        (TrainSettings(max_steps=12), 0.5, "raise train.max_steps"),
        (TrainSettings(), 1.9, "look at train.learning_rate"),
        (TrainSettings(warmup_steps=100), 1.9, "look at train.warmup_steps"),
        (TrainSettings(warmup_steps=4), 1.9, "look at train.learning_rate"),
        (TrainSettings(warmup_steps=100, lr_scheduler_type="constant"), 1.9, "look at train.learning_rate"),
    ],
)
def test_the_verdict_names_the_setting_that_decided(settings, last, words):
    assert words in verdict(Memorization(8, 0), 1.94, last, settings, 12)


@pytest.mark.slow
def test_a_run_ends_with_its_verdict(lab):
    run_id = lab.training.start(HOST, smoke(train={"recite_rows": 4}))
    run = lab.training.wait(run_id, PATIENCE)
    assert run.status == "finished"
    assert run.provenance["recited"] == {"rows": 4, "exact": 0}
    losses = [metric["loss"] for metric in lab.runs.metrics(HOST, run_id) if metric["kind"] == "train"]
    config = RunConfig.from_dict(run.config)
    assert run.message == verdict(Memorization(4, 0), losses[0], losses[-1], config.train, run.step)


def test_more_rows_than_there_are(lab):
    run_id = lab.training.start(HOST, smoke(data={"limit": 3}, train={"recite_rows": 8}))
    assert lab.training.wait(run_id, PATIENCE).provenance["recited"]["rows"] == 3


def test_a_stop_while_it_recites_gives_up_the_question_and_nothing_else(lab, monkeypatch):
    save = TrainingWork._save

    def stop_then(work, *args):
        save(work, *args)
        lab.training.stop(HOST, work.run_id)

    monkeypatch.setattr(TrainingWork, "_save", stop_then)
    run_id = lab.training.start(HOST, smoke(train={"recite_rows": 4}))
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.message) == ("finished", "Finished 4 steps.")
    assert "recited" not in run.provenance
    assert lab.answerers.has_adapter(HOST, run_id)


def test_without_it_nothing_is_recited(lab):
    assert "recited" not in lab.runs.details(HOST, finished(lab))["facts"]
