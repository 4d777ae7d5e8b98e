"""The time left of a run: what it still measures and answers counts, at the pace of what it has done."""

import pytest

from instruct_tune.config.run_config import RunConfig, TrainSettings
from instruct_tune.estimate.progress import TYPICAL, RunProgress
from instruct_tune.estimate.resources import efforts
from instruct_tune.estimate.workload import Recorded, RowLength, count

CONFIG = RunConfig(
    train=TrainSettings(
        per_device_train_batch_size=4,
        probes=2,
        sample_every=1,
        eval_strategy="epoch",
        num_train_epochs=2,
        recite_rows=2,
    )
)
ROWS = [RowLength(20, 10)] * 16
WORK = count(CONFIG, ROWS, ROWS[:4], ROWS[:2], 512, recorded=Recorded((8, 8), 30, 4))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    return RunProgress(CONFIG, WORK, {}, clock)


def does(progress, clock, **seconds):
    for kind, each in seconds.items():
        clock.now += each
        progress.note(kind)


def test_evaluations_and_answers_that_are_left_count_besides_the_steps(progress, clock):
    assert (WORK.steps, WORK.probes, WORK.evaluations) == (8, 3, 2)
    does(progress, clock, bleu=10, probe=2, general=1)
    assert progress.seconds_left() is None, "before the first step"
    does(progress, clock, train=1, samples=3)
    for _ in range(3):
        does(progress, clock, train=1)
    does(progress, clock, probe=2, general=1, samples=3, eval=4, bleu=10)
    pace = progress.seconds / progress.done.seconds(TYPICAL)
    memorized = efforts(CONFIG, WORK)["memorized"].seconds(TYPICAL) * pace
    assert progress.seconds_left() == pytest.approx(4 * 1 + (2 + 1 + 3) + (4 + 10) + memorized)
    for _ in range(4):
        does(progress, clock, train=1)
    assert progress.seconds_left() > 20, "the last evaluation comes after the last step"
    does(progress, clock, probe=2, general=1, samples=3, eval=4, bleu=10, memorized=5)
    assert progress.seconds_left() == 0


def test_the_pace_leaves_out_the_first_of_each_kind(progress, clock):
    does(progress, clock, bleu=1)
    for step in range(8):
        does(progress, clock, train=1)
        if step % 4 == 3:
            does(progress, clock, probe=1, general=1, samples=1, eval=1, bleu=1)
    does(progress, clock, probe=1, general=1, samples=1, memorized=1)
    whole, first = efforts(CONFIG, WORK), {"training": 8, "probes": 3, "samples": 3, "general": 3, "evaluations": 2}
    steady = [effort.times(1 - 1 / {**first, "bleu": 3, "memorized": 1}[kind]) for kind, effort in whole.items()]
    assert progress.done.seconds(TYPICAL) == pytest.approx(sum(effort.seconds(TYPICAL) for effort in steady))
    assert progress.to_dict()["seconds"] == clock.now - len(whole)
    assert progress.has_pace


def test_answers_out_of_a_cache_tell_nothing_of_the_time_left(progress, clock):
    clock.now += 0.01
    progress.pass_over("bleu")
    for _ in range(4):
        does(progress, clock, train=1)
    left = progress.seconds_left()
    bleu = efforts(CONFIG, WORK)["bleu"].times(2 / 3).seconds(TYPICAL)
    assert left > bleu * progress.seconds / progress.done.seconds(TYPICAL) > 1


def test_few_steps_make_no_pace_for_later_runs(progress, clock):
    for _ in range(3):
        does(progress, clock, train=1)
        assert not progress.has_pace
    does(progress, clock, train=1)
    assert progress.has_pace


def test_the_time_of_queued_jobs_is_not_the_runs(progress, clock):
    clock.now += 100
    progress.skip(100)
    for _ in range(2):
        does(progress, clock, train=1)
    assert progress.seconds == 1


def test_a_resumed_run_has_only_the_rest_before_it(clock):
    progress = RunProgress(
        CONFIG, WORK, {"train": 7, "probe": 3, "samples": 3, "general": 3, "eval": 1, "bleu": 2}, clock
    )
    does(progress, clock, train=2)
    left = efforts(CONFIG, WORK)
    rest = left["evaluations"].times(1 / 2) + left["bleu"].times(1 / 3) + left["memorized"]
    a_step = left["training"].times(1 / WORK.steps)
    assert progress.seconds_left() == pytest.approx(rest.seconds(TYPICAL) * 2 / a_step.seconds(TYPICAL))
