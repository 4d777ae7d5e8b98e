"""Helpers for the tests of the lab, the command line and the export: smoke runs, and pauses between their steps."""

import dataclasses
import json
import os
import shutil
import signal
import tempfile
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
"""Timeout of waits, in seconds."""


def smoke(**sections):
    """The smoke preset with ``sections`` laid over it."""
    return RunConfig.from_dict(sections, "smoke")


TWELVE_STEPS = smoke(train={"num_train_epochs": 3, "probes": 4, "save_minutes": None})
"""Three epochs with evaluations, probes and dropout: everything that a resume could disturb."""
LONG = smoke(train={"num_train_epochs": 1000, "max_steps": 5000, "eval_strategy": "no", "save_strategy": "no"})
"""A run that does not end by itself during a test."""


def cache_for(tmp_path_factory):
    """The cache folder of the whole test session, so that the tiny model is made once."""
    folder = tmp_path_factory.getbasetemp() / "lab-cache"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def opened(data_dir, **options):
    """A lab that is closed at the end, also when the test fails."""
    lab = Lab(data_dir, **options)
    try:
        yield lab
    finally:
        lab.close(timeout=PATIENCE)


def finished(lab, config=None, name="", viewer=HOST):
    """Train ``config`` (default: smoke) to its end, assert that it finished, and return the run's id."""
    run_id = lab.training.start(viewer, config or smoke(), name)
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.message) == ("finished", f"Finished {run.total_steps} steps.")
    return run_id


_TRAINED = {}
"""What ``trained`` trained in this process, by settings: (run, history by table, folder of its files)."""


def trained(lab, config=None, name=""):
    """Like ``finished``, for tests of something else: equal settings are trained once a process, then copied."""
    key = json.dumps([(config or smoke()).to_dict(), os.environ.get("LAB_CACHE_DIR")])
    if key not in _TRAINED:
        run_id = finished(lab, config, name)
        tables = {"metrics": lab.store.metrics, "events": lab.store.events, "samples": lab.store.samples}
        history = {table: read(run_id) for table, read in tables.items()} | {"states": lab.store.changes(run_id)}
        kept = tempfile.TemporaryDirectory(prefix="trained-")
        shutil.copytree(lab.store.folder(run_id), kept.name, dirs_exist_ok=True)
        _TRAINED[key] = lab.store.get(run_id), history, kept
        return run_id
    run, history, kept = _TRAINED[key]
    run_id = lab.store.new_id()
    shutil.copytree(kept.name, lab.data_dir / "runs" / run_id, dirs_exist_ok=True)
    now = time.time()
    lab.store.enter(dataclasses.replace(run, id=run_id, name=name or run_id, created=now, ended=now), **history)
    return run_id


def curve(lab, run_id):
    """A run's metrics by (kind, step), without the values that depend on the clock."""
    clock = ("seq", "time", "seconds", "tokens_per_second", "kind", "step")
    metrics = lab.runs.metrics(HOST, run_id)
    points = {(m["kind"], m["step"]): {k: v for k, v in m.items() if k not in clock} for m in metrics}
    assert len(points) == len(metrics), "a metric is known by (run, kind, step)"
    return points


def undisturbed(kept):
    """The metrics of an uninterrupted run of ``TWELVE_STEPS``; ``kept``: the fixture."""
    lab, run_id = kept
    return curve(lab, run_id)


def write_rows(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")
    return str(path)


def texts(events):
    return [event["text"] for event in events]


def until(true, what):
    """Wait until ``true()`` holds by the work of another thread or process."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def stop_at(lab, pace, step, config, keep=True):
    """Start a run and stop it at ``step``; return its id. ``pace``: the fixture."""
    statuses = []
    pace.at[step] = lambda runner: statuses.append(lab.training.stop(HOST, runner.run.id, keep))
    run_id = lab.training.start(HOST, config)
    lab.training._jobs[run_id].result(PATIENCE)
    assert statuses == ["stopping"]
    return run_id


class Pace:
    """Pauses a run between two steps: ``at[step]`` is called once after that step, on the queue's thread."""

    def __init__(self, monkeypatch):
        self.at = {}
        yield_to_queue = TrainingJob.yield_to_queue

        def yield_after_plan(runner):
            plan = self.at.pop(runner.store.get(runner.run.id).step, None)
            if plan:
                plan(runner)
            yield_to_queue(runner)

        monkeypatch.setattr(TrainingJob, "yield_to_queue", yield_after_plan)

    def ask(self, lab, step, question):
        """Call ``question`` on another thread when the run is at ``step``; hold the run until its job is queued.

        The run is held again two steps later until the result is there. So the job runs between two of the run's
        steps, or the run fails. Returns a future of the result.
        """
        answer = Future()

        def work():
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)

        def hold(runner):
            waiting = threading.Event()
            submit_short = lab.queue.submit_short

            def submit_and_notify(job):
                future = submit_short(job)
                waiting.set()
                return future

            lab.queue.submit_short = submit_and_notify
            threading.Thread(target=work, daemon=True).start()
            assert waiting.wait(PATIENCE)
            del lab.queue.submit_short

        self.at[step] = hold
        self.at[step + 2] = lambda runner: answer.exception(PATIENCE)
        return answer


def press_ctrl_c(runner):
    """For ``Pace.at``: send SIGINT to this process, and wait until the main thread stops the run."""
    os.kill(os.getpid(), signal.SIGINT)
    assert runner.stop.wait(PATIENCE)
