"""What the tests of the lab, the command line and the export share: smoke runs, and a hand on their pace."""

import gc
import json
import os
import signal
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager

from patience import machine_slowness

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.lab import Lab
from instruct_tune.services.training_job import TrainingJob

PATIENCE = 120.0 * machine_slowness()
"""Seconds after which what is waited for is taken to be lost."""


def smoke(**sections):
    """The smoke preset with ``sections`` laid over it."""
    return RunConfig.from_dict(sections, "smoke")


TWELVE_STEPS = smoke(train={"num_train_epochs": 3, "probes": 4, "save_minutes": None})
"""Over three epochs, with evaluations, probes and dropout: all that a resume could disturb."""
LONG = smoke(train={"num_train_epochs": 1000, "max_steps": 5000, "eval_strategy": "no", "save_strategy": "no"})
"""A run that does not end by itself while a test looks."""


def cache_for(tmp_path_factory):
    """One folder for the tiny model in a whole test session, so that it is made once."""
    folder = tmp_path_factory.getbasetemp() / "lab-cache"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def imports_frozen():
    """Trainers collect garbage twice a run, a fifth of a second each time where all imports are looked through."""
    import instruct_tune.training.train  # noqa: F401

    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def opened(data_dir, **options):
    """A lab that is closed at the end, whatever the test did to it."""
    lab = Lab(data_dir, **options)
    try:
        yield lab
    finally:
        lab.close(timeout=PATIENCE)


def finished(lab, config=None, name=""):
    """Train ``config`` (smoke) to its end, and insist that it got there. Returns the run's id."""
    run_id = lab.training.start(HOST, config or smoke(), name)
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.message) == ("finished", f"Finished {run.total_steps} steps.")
    return run_id


def curve(lab, run_id):
    """Every number a run measured, by kind and step; what depends on the clock is left out."""
    clock = ("seq", "time", "seconds", "tokens_per_second", "kind", "step")
    metrics = lab.runs.metrics(HOST, run_id)
    told = {(m["kind"], m["step"]): {k: v for k, v in m.items() if k not in clock} for m in metrics}
    assert len(told) == len(metrics), "a metric is known by (run, kind, step)"
    return told


def undisturbed(kept):
    """What an uninterrupted run of ``TWELVE_STEPS`` measures; ``kept``: the fixture."""
    lab, run_id = kept
    return curve(lab, run_id)


def write_rows(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")
    return str(path)


def texts(events):
    return [event["text"] for event in events]


def until(true, what):
    """Wait for another thread or process."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def stop_at(lab, pace, step, config, keep=True):
    """A run that was stopped when it was at ``step``; ``pace``: the fixture."""
    told = []
    pace.at[step] = lambda runner: told.append(lab.training.stop(HOST, runner.run.id, keep))
    run_id = lab.training.start(HOST, config)
    lab.training._jobs[run_id].result(PATIENCE)
    assert told == ["stopping"]
    return run_id


class Pace:
    """Holds a run between two steps: ``at[step]`` is called there once, on the engine's thread."""

    def __init__(self, monkeypatch):
        self.at = {}
        yield_to_queue = TrainingJob.yield_to_queue

        def breathe_in_time(runner):
            plan = self.at.pop(runner.store.get(runner.run.id).step, None)
            if plan:
                plan(runner)
            yield_to_queue(runner)

        monkeypatch.setattr(TrainingJob, "yield_to_queue", breathe_in_time)

    def ask(self, lab, step, question):
        """Let another thread ask ``question`` when the run is at ``step``, and hold the run until it waits its turn.

        The run is held once more two steps later, until the answer is there: so it was given between
        two of the run's steps, or the run fails.
        """
        answer = Future()

        def work():
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)

        def hold(runner):
            waiting = threading.Event()
            short = lab.queue.submit_short

            def noticed(job):
                future = short(job)
                waiting.set()
                return future

            lab.queue.submit_short = noticed
            threading.Thread(target=work, daemon=True).start()
            assert waiting.wait(PATIENCE)
            del lab.queue.submit_short

        self.at[step] = hold
        self.at[step + 2] = lambda runner: answer.exception(PATIENCE)
        return answer


def press_ctrl_c(runner):
    """For ``Pace.at``: SIGINT to this process; the run waits for what the main thread makes of it."""
    os.kill(os.getpid(), signal.SIGINT)
    assert runner.stop.wait(PATIENCE)
