"""What a run reports while it trains: each step's metrics, held-out losses at their steps, phases, messages."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tiny_lab import (
    NO_DROPOUT,
    ROWS,
    RUN,
    SIX_STEPS,
    Recorder,
    go,
    held_out_by_hand,
    light,  # noqa: F401
    some_data,
    some_rows,
    tiny,
    tiny_with,
    toy,
)

from instruct_tune.batching import packing
from instruct_tune.batching.sampler import EpochSampler
from instruct_tune.models import lora
from instruct_tune.training import step_metrics
from instruct_tune.training.callbacks import probe_steps, sample_steps
from instruct_tune.training.types import TrainingData


def test_what_a_step_tells(tmp_path, undisturbed):
    metrics = undisturbed.watcher.metrics["train"]
    rows = some_rows(tiny(), ROWS)
    for epoch, steps in ((0, (1, 2, 3)), (1, (4, 5, 6))):
        sampler = EpochSampler(ROWS, SIX_STEPS.seed)
        sampler.set_epoch(epoch)
        order = list(sampler)
        for place, step in enumerate(steps):
            batch = [rows[index] for index in order[4 * place : 4 * place + 4]]
            assert metrics[step]["tokens"] == sum(len(row.input_ids) for row in batch)
            assert metrics[step]["supervised"] == sum(row.supervised for row in batch)
    for values in metrics.values():
        assert set(values) == {
            *("loss", "learning_rate", "grad_norm", "tokens", "supervised", "seconds", "tokens_per_second")
        }
        assert 0 < values["seconds"] < 30
        assert values["tokens_per_second"] == values["tokens"] / values["seconds"]
        assert values["grad_norm"] > 0
    assert undisturbed.watcher.steps == [(step, 6) for step in range(7)]
    assert undisturbed.watcher.epochs == {1: 0.4, 2: 0.8, 3: 1.0, 4: 1.4, 5: 1.8, 6: 2.0}


def test_what_is_served_between_steps_is_not_the_steps_time(tmp_path, monkeypatch):
    clock = SimpleNamespace(served=0, monotonic=time.monotonic, perf_counter=lambda: time.perf_counter() + clock.served)
    monkeypatch.setattr(step_metrics, "time", clock)

    def serve_for_an_hour(step: int) -> None:
        clock.served += 3600

    watcher, _ = go(tiny_with(), tmp_path, watcher=Recorder(between=serve_for_an_hour))
    assert max(watcher.of("seconds").values()) < 3600


def test_phases_come_in_order(undisturbed):
    three_steps_an_epoch = ["evaluating", "training", "saving", "training"]
    assert undisturbed.watcher.phases == [
        "training",
        *("evaluating", "training"),  # the probe rows before the first step
        *three_steps_an_epoch,
        *("evaluating", "training"),  # the probe rows after the last one
        *three_steps_an_epoch,
    ]


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({}, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ({"warmup_steps": 2}, [0, 1 / 2, 1, 3 / 4, 2 / 4, 1 / 4]),
        ({"max_steps": 4}, [1, 3 / 4, 2 / 4, 1 / 4]),
        ({"lr_scheduler_type": "constant"}, [1] * 6),
        ({"lr_scheduler_type": "cosine"}, [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]),
    ],
)
def test_the_learning_rate_of_each_step(tmp_path, changes, shares):
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, **changes))
    expected = {step: 1e-2 * share for step, share in enumerate(shares, start=1)}
    assert watcher.of("learning_rate") == pytest.approx(expected, rel=1e-9)


def test_held_out_losses_weigh_tokens(tmp_path):
    """Sum over count, without dropout, with the weights of that step."""
    loaded = tiny_with()
    data = some_data(loaded)
    by_hand = {"probe": {}, "eval": {}}

    def measure(step: int) -> None:
        by_hand["probe"][step] = held_out_by_hand(loaded, data.probe)
        by_hand["eval"][step] = held_out_by_hand(loaded, data.evaluation)

    # Without dropout, and in eval mode between steps: measuring does not change the run.
    settings = replace(SIX_STEPS, eval_strategy="steps", eval_steps=1, probes=6)
    watcher, _ = go(loaded, tmp_path, settings, Recorder(between=measure), data=data)
    measure(6)
    assert watcher.of("probe_loss", "probe") == pytest.approx(by_hand["probe"], rel=1e-5)
    del by_hand["eval"][0]
    assert watcher.of("eval_loss", "eval") == pytest.approx(by_hand["eval"], rel=1e-5)
    # A mean of the rows' own means would differ by far more than that tolerance.
    mean_of_means = sum(held_out_by_hand(loaded, [row]) for row in data.evaluation) / len(data.evaluation)
    assert abs(mean_of_means / by_hand["eval"][6] - 1) > 1e-4


@pytest.mark.parametrize(
    ("total", "probes", "steps"),
    [
        (6, 6, {0, 1, 2, 3, 4, 5, 6}),
        (6, 3, {0, 2, 4, 6}),
        (7, 2, {0, 4, 7}),
        (25, 6, {0, 4, 8, 12, 17, 21, 25}),
        (2, 6, {0, 1, 2}),
        (1, 1, {0, 1}),
        (100, 0, set()),
    ],
)
def test_probe_steps(total, probes, steps):
    assert probe_steps(total, probes) == steps


@pytest.mark.parametrize(
    ("probed", "every", "steps"),
    [
        ({0, 2, 4, 6}, 1, {0, 2, 4, 6}),
        ({0, 2, 4, 6}, 2, {0, 4, 6}),
        ({0, 4, 8, 12, 17, 21, 25}, 3, {0, 12, 25}),
        ({0, 2, 4, 6}, 1000, {0, 6}),
        (set(), 3, set()),
    ],
)
def test_answers_are_taken_at_some_probes_the_first_and_the_last_among_them(probed, every, steps):
    assert sample_steps(probed, every) == steps


@pytest.mark.parametrize(("probes", "steps"), [(0, []), (1, [0, 6]), (3, [0, 2, 4, 6])])
def test_probes_are_measured_at_their_steps(tmp_path, probes, steps):
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, probes=probes, eval_strategy="no"))
    assert list(watcher.metrics["probe"]) == steps
    assert watcher.metrics["eval"] == {}


def test_without_probe_rows_there_is_no_probe(tmp_path):
    loaded = tiny_with()
    data = replace(some_data(loaded), probe=[])
    watcher, _ = go(loaded, tmp_path, data=data)
    assert watcher.metrics["probe"] == {}
    assert list(watcher.metrics["eval"]) == [3, 6]


def test_without_evaluation_rows_there_is_no_evaluation(tmp_path):
    loaded = tiny_with()
    data = TrainingData(some_rows(loaded, ROWS), [], [])
    watcher, result = go(loaded, tmp_path, data=data)
    assert result.steps == 6
    assert watcher.metrics["eval"] == {}


@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_each_evaluation_is_done_once(tmp_path, strategy):
    """Every third step has one, and every third step ends an epoch."""
    watcher, _ = go(tiny_with(), tmp_path, replace(SIX_STEPS, eval_strategy=strategy, eval_steps=3))
    assert list(watcher.metrics["eval"]) == [3, 6]
    assert watcher.repeated == []


def test_evaluation_rows_do_not_train(tmp_path, undisturbed):
    loaded = tiny_with()
    watcher, _ = go(loaded, tmp_path, replace(SIX_STEPS, eval_strategy="no", probes=0))
    assert watcher.losses == undisturbed.losses


def test_nothing_is_printed(tmp_path, capfd):
    """With ``--json`` the one line on stdout is the command's own."""
    go(tiny_with(), tmp_path)
    assert capfd.readouterr().out == ""


def test_a_row_longer_than_a_pass_is_reported_once(tmp_path, monkeypatch):
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 100)
    watcher, _ = go(tiny_with(), tmp_path)
    assert len(watcher.messages) == 1
    assert "The longest row has" in watcher.messages[0]


def test_a_model_whose_head_cannot_be_taken_off_says_so(tmp_path):
    loaded = toy("cohere")
    lora.attach(loaded, RUN, NO_DROPOUT, seed=1)
    watcher, _ = go(loaded, tmp_path)
    assert watcher.messages == ["This model changes its head's logits, so the loss is not computed in chunks."]
