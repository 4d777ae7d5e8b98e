"""Concurrent requests: thirty questions change no bit of a run that trains; fifty Starts in a second lose no run."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from labs import PATIENCE, cache_for, curve, finished, opened, smoke

from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.data.splits import Example
from instruct_tune.errors import BusyError
from instruct_tune.services.job_queue import Job
from instruct_tune.services.training_job import TrainingJob

pytestmark = pytest.mark.usefixtures("one_thread")
ROW = Example("Say hello.", "", "Hello.")
# Ten steps with dropout, accumulation, and evaluations and probes between.
TEN_STEPS = smoke(
    lora={"lora_dropout": 0.1},
    train={"num_train_epochs": 5, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "probes": 3,
           "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "no", "save_minutes": None},
)  # fmt: skip


@pytest.fixture
def data_dir(tmp_path, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    return tmp_path / "data"


def greedy(lab, run_id):
    return list(lab.inference.compare(HOST, run_id, "Hi", generation={"max_new_tokens": 4}))[-1]["tuned"]


def sampled(lab, run_id):
    hot = {"max_new_tokens": 4, "do_sample": True, "temperature": 2.0}
    return list(lab.inference.compare(HOST, run_id, "Hi", generation=hot))[-1]["tuned"]


def token_by_token(lab, run_id):
    return lab.inference.token_losses(HOST, run_id, ROW)


@pytest.mark.slow
@pytest.mark.nightly
def test_thirty_short_jobs_between_its_steps_change_no_bit_of_a_run(data_dir, monkeypatch):
    with opened(data_dir) as lab, ThreadPoolExecutor() as askers:
        alone = curve(lab, finished(lab, TEN_STEPS))
        answers = []

        def yield_in_a_crowd(runner):
            """Submits three questions before each step and waits until all three are answered."""
            for question in (greedy, sampled, token_by_token):
                answer = askers.submit(question, lab, runner.run.id)
                while not answer.done():
                    lab.queue.yield_once()
                    time.sleep(0.001)
                answers.append(answer)

        monkeypatch.setattr(TrainingJob, "yield_to_queue", yield_in_a_crowd)
        crowded = finished(lab, TEN_STEPS)
        assert len(answers) == 30
        assert all(answer.exception() is None for answer in answers)
        assert curve(lab, crowded) == alone


@pytest.mark.slow
@pytest.mark.nightly
def test_of_fifty_starts_in_one_second_all_are_run_or_refused_in_a_sentence(data_dir, monkeypatch):
    monkeypatch.setenv("LAB_MAX_QUEUE", "5")
    with opened(data_dir) as lab:
        release, together = threading.Event(), threading.Barrier(50)
        lab.queue.enqueue(Job("something else", release.wait, ("evaluation", "of another")))

        def start(number):
            together.wait(PATIENCE)
            try:
                return lab.training.start(
                    known_by(f"visitor {number % 5:020}"), smoke(train={"max_steps": 1}), f"{number}"
                )
            except BusyError as error:
                return error

        with ThreadPoolExecutor(50) as visitors:
            outcomes = list(visitors.map(start, range(50)))
        accepted = [outcome for outcome in outcomes if isinstance(outcome, str)]
        refused = {str(outcome) for outcome in outcomes if not isinstance(outcome, str)}
        assert len(set(accepted)) == 5
        assert all("are waiting already" in sentence for sentence in refused)
        assert {run.id for run in lab.store.all()} == set(accepted)
        assert {folder.name for folder in (data_dir / "runs").iterdir()} == set(accepted)
        by_visitor = [lab.store.get(run_id).started_by for run_id in accepted]
        assert max(by_visitor.count(visitor) for visitor in by_visitor) <= 3
        release.set()
        assert [lab.training.wait(run_id, PATIENCE).status for run_id in accepted] == ["finished"] * 5
