"""The learning rate that steps use: against transformers' schedulers, in warnings, findings and verdicts."""

import itertools

import pytest
import torch
from labs import finished, opened, smoke
from tiny_lab import RUN, light, some_data, tiny_with  # noqa: F401
from transformers import get_scheduler

from instruct_tune.config.learning_rate import higher_rate_advice, peak_rate, schedule_warnings, used_rate
from instruct_tune.config.run_config import SCHEDULERS, RunConfig, TrainSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DivergedError
from instruct_tune.evaluation.interpretation import judge
from instruct_tune.runs.diagnostics import diagnose
from instruct_tune.training.train import train


def rates(name, warmup, steps, rate=0.01):
    """The learning rate of each optimizer step, by transformers' own scheduler."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(("warmup", "steps"), list(itertools.product((0, 1, 3, 11, 12, 13, 1000), (1, 2, 4, 12))))
def test_the_highest_rate_is_the_schedulers(name, warmup, steps):
    settings = TrainSettings(learning_rate=0.01, lr_scheduler_type=name, warmup_steps=warmup)
    assert peak_rate(settings, steps) == pytest.approx(max(rates(name, warmup, steps)), rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "steps", "evaluations", "words"),
    [
        ({}, 12, 1, []),
        ({"warmup_steps": 11}, 12, 1, []),
        ({"warmup_steps": 12}, 12, 1, ["takes 12 steps and the run has 12"]),
        ({"warmup_steps": 1000}, 12, 1, ["Warm-up takes 1,000 steps and the run has 12: the learning rate never gets "
                                         "above 5.5e-06 (train.learning_rate is 0.0005); lower train.warmup_steps."]),
        ({"warmup_steps": 1000, "lr_scheduler_type": "cosine"}, 12, 1, ["never gets above 5.5e-06"]),
        ({"warmup_steps": 1000, "lr_scheduler_type": "constant_with_warmup"}, 12, 1, ["never gets above 5.5e-06"]),
        ({"warmup_steps": 5, "lr_scheduler_type": "constant"}, 12, 1, ["constant has no warm-up"]),
        ({"warmup_steps": 1}, 1, 1, ["never gets above 0 "]),
        ({"early_stopping_patience": 3}, 12, 4, ["waits for 3 evaluations without a lower loss and the run has 4"]),
        ({"early_stopping_patience": 3}, 12, 5, []),
        ({"early_stopping_patience": 3}, 12, None, []),
        ({"early_stopping_patience": 1, "warmup_steps": 20}, 12, 1, ["Warm-up", "Early stopping"]),
    ],
)  # fmt: skip
def test_what_will_not_happen_is_reported_before(settings, steps, evaluations, words):
    warnings = schedule_warnings(TrainSettings(**settings), steps, evaluations)
    assert len(warnings) == len(words)
    assert all(part in sentence for part, sentence in zip(words, warnings, strict=True))


@pytest.mark.parametrize(
    ("rate", "advice"),
    [(5e-4, "learning rate of 0.005, or"), (0.5, "learning rate of 1, or"), (1, "Train for more steps.")],
)
def test_a_higher_rate_is_one_that_the_settings_take(rate, advice):
    assert advice in higher_rate_advice(rate)


def test_the_rate_used_is_the_recorded_one_and_the_settings_where_none_was():
    config = RunConfig().to_dict()["train"]
    steps = [{"kind": "train", "step": at, "learning_rate": rate} for at, rate in enumerate((0, 1e-5, 2e-5), 1)]
    assert used_rate(config, [*steps, {"kind": "probe", "step": 3, "probe_loss": 1.0}]) == 2e-5
    assert used_rate(config, [{"kind": "train", "step": 1, "loss": 2.0}]) == used_rate(config, []) == 5e-4


def course(held_out, total=12, samples=(), **settings):
    """(run, metrics, samples) of a run with the scheduler's learning rates and a held-out loss every second step."""
    config = RunConfig.from_dict({"train": settings}).to_dict()
    train_settings = config["train"]
    last = 2 * (len(held_out) - 1)
    used = rates(
        train_settings["lr_scheduler_type"], train_settings["warmup_steps"], total, train_settings["learning_rate"]
    )[:last]
    metrics = [{"kind": "probe", "step": 2 * at, "probe_loss": loss} for at, loss in enumerate(held_out)]
    metrics += [
        {"kind": "train", "step": at, "epoch": at / 4, "loss": 2.0, "grad_norm": 1.0, "learning_rate": rate}
        for at, rate in enumerate(used, 1)
    ]
    run = {"status": "running", "config": config, "facts": {}, "step": last, "total_steps": total}
    return run, metrics, samples


STILL = (2.0, 2.001, 2.0, 2.001, 2.0, 1.999, 2.0)


def test_a_warm_up_longer_than_the_run_is_blamed_and_not_the_rate():
    (finding,) = diagnose(*course(STILL, learning_rate=0.01, warmup_steps=1000))
    assert finding.kind == "rate_too_low"
    assert "Warm-up takes 1,000 steps and the run has 12" in finding.sentence
    assert "at most 0.00011 (train.learning_rate is 0.01)" in finding.sentence
    assert finding.advice == "Lower train.warmup_steps."


def test_without_warm_up_the_rate_is_blamed_as_before():
    (finding,) = diagnose(*course(STILL, learning_rate=1e-5))
    assert "The learning rate of 1e-05 is most likely too low." in finding.sentence
    assert finding.advice == "Try a learning rate of 0.0001, or more steps."


def test_before_warm_up_is_over_there_is_no_finding_on_a_rate_that_is_still_to_come():
    assert diagnose(*course(STILL[:4], warmup_steps=10)) == ()
    assert [finding.kind for finding in diagnose(*course(STILL, warmup_steps=10))] == ["rate_too_low"]


def test_a_leap_during_warm_up_is_the_doing_of_the_rate_that_was_used():
    (finding,) = diagnose(*course((2.0, 3.0), total=12, learning_rate=0.5, warmup_steps=10))
    assert finding.kind == "rate_too_high"
    assert "The learning rate of 0.05 is" in finding.sentence
    assert finding.advice == "Try a learning rate of 0.005."
    (finding,) = diagnose(*course((2.0, 3.0), total=12, learning_rate=0.5, warmup_steps=20))
    assert finding.advice == "Try a learning rate of 0.0025 and no warm-up."


def test_an_unchanged_adapter_after_warm_up_alone_is_explained_by_it():
    run, metrics, samples = course(STILL, learning_rate=1e-8, warmup_steps=1000)
    (finding,) = diagnose({**run, "facts": {"adapter_norm": 1e-6}}, metrics, samples)
    assert finding.kind == "unchanged"
    assert "Warm-up takes 1,000 steps" in finding.sentence
    assert finding.advice == "Lower train.warmup_steps."


@pytest.mark.parametrize("evaluation", [True, False])
def test_the_verdict_blames_warm_up_too(evaluation):
    run, metrics, _ = course(STILL, learning_rate=0.01, warmup_steps=1000)
    result = {
        "rows": 40, "delta": 0.1, "p_value": 0.8, "base": {"bleu": 9, "bp": 1}, "tuned": {"bleu": 9.1, "bp": 1},
        "tuned_ended": 40, "base_ended": 40, "identical": 39, "base_cut_bleu": 9,
    }  # fmt: skip
    verdict = judge(run["config"], metrics, result if evaluation else None)
    assert verdict.kind == "no_change"
    assert "Warm-up takes 1,000 steps and the run has 12" in verdict.sentence
    assert verdict.advice == "Lower train.warmup_steps."
    assert verdict.evidence["learning_rate"] == pytest.approx(0.00011)


ROSE = (2.0, 1.6, 1.5, 1.7, 1.9, 2.1, 2.3)


@pytest.mark.parametrize(
    ("settings", "kind", "advice"),
    [
        # 12 steps of 4 to an epoch are three epochs, whatever num_train_epochs says.
        ({"max_steps": 12}, "too_many_epochs", "Lower train.max_steps (it repeats the rows 3 times)"),
        ({"num_train_epochs": 30}, "too_many_epochs", "Train fewer epochs than 3"),
        ({"num_train_epochs": 3}, "too_many_epochs", "Train fewer epochs than 3"),
    ],
)
def test_a_verdict_counts_the_epochs_that_were_trained(settings, kind, advice):
    run, metrics, _ = course(ROSE, **settings)
    verdict = judge(run["config"], metrics)
    assert verdict.kind == kind
    assert advice in verdict.advice
    assert verdict.evidence["epochs"] == 3


def test_one_step_of_warm_up_ends_in_its_own_sentence(tmp_path):
    from tiny_lab import Recorder

    loaded = tiny_with()
    settings = TrainSettings(max_steps=1, warmup_steps=5, save_minutes=None, probes=0)
    with pytest.raises(DivergedError, match=r"Warm-up takes 5 steps and the run has 1.*lower train.warmup_steps"):
        train(loaded, RUN, some_data(loaded), settings, tmp_path, Recorder())


def test_the_cost_line_warns_and_the_run_finds_what_was_warned_of(tmp_path):
    with opened(tmp_path / "data") as lab:
        long = smoke(train={"warmup_steps": 1000, "learning_rate": 0.01})
        (warning,) = lab.estimates.cost(HOST, long, measure=False)["warnings"]
        assert "Warm-up takes 1,000 steps and the run has 4: the learning rate never gets above 3e-05" in warning
        assert lab.estimates.cost(HOST, smoke(model="nobody/has-this", train={"warmup_steps": 1000}))["warnings"]
        assert lab.estimates.cost(HOST, smoke(), measure=False)["warnings"] == []
        run_id = finished(lab, long)
        used = [m["learning_rate"] for m in lab.runs.metrics(HOST, run_id) if m["kind"] == "train"]
        assert max(used) == pytest.approx(3e-05)
        for finding in lab.training.status(HOST, run_id)["findings"]:
            assert "0.1" not in finding["advice"]
            assert "learning rate of" not in finding["advice"]
