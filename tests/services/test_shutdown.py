"""Closing the lab, and the runs of a process that died."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from labs import LONG, PATIENCE, TWELVE_STEPS, curve, finished, opened, smoke, texts, trained, undisturbed, until

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import BusyError
from instruct_tune.lab import Lab
from instruct_tune.store.run_store import RunStore
from instruct_tune.training.checkpoints import checkpoints, step_of
from instruct_tune.util.progress import Loading

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


def test_closing_stops_a_run_and_keeps_its_adapter(tmp_path, pace):
    begun = threading.Event()
    pace.at[2] = lambda runner: begun.set()
    with opened(tmp_path) as lab:
        run_id = lab.training.start(HOST, LONG)
        assert begun.wait(PATIENCE)
    with opened(tmp_path) as lab:
        run = lab.store.get(run_id)
        assert run.status == "interrupted"
        assert run.message.startswith(f"The lab was closed at step {run.step} of 5000; the adapter is kept")
        assert [step_of(path) for path in checkpoints(lab.store.folder(run_id))] == [run.step]
        assert lab.answerers.has_adapter(HOST, run_id)


def test_closing_leaves_a_run_that_has_not_begun_to_be_resumed(tmp_path):
    let_go = threading.Event()
    lab = Lab(tmp_path)
    lab.queue.submit_short(lambda: let_go.wait(PATIENCE))
    run_id = lab.training.start(HOST, LONG)
    threading.Timer(0.2, let_go.set).start()
    lab.close(timeout=4)
    with opened(tmp_path) as lab:
        run = lab.store.get(run_id)
        assert (run.status, run.step) == ("interrupted", 0)


@pytest.mark.slow
def test_closing_stops_an_evaluation(tmp_path):
    with opened(tmp_path) as lab:
        run_id = trained(lab, smoke(evaluation_rows=None))
        updates = lab.evaluations.stream(HOST, run_id, generation={"max_new_tokens": 1500})
        next(updates)
        began = time.monotonic()
        lab.close(timeout=8)
        took = time.monotonic() - began
    assert took < 5


def test_rows_that_are_requested_while_it_closes_are_refused_in_a_sentence(tmp_path):
    lab = Lab(tmp_path)
    lab.shutdown()
    loading = Loading(lambda: False)
    for start in (lab.datasets.start_loading, lab.datasets.start_fetching):
        with pytest.raises(BusyError, match="closing"):
            start(HOST, smoke().to_dict(), loading)
    lab.close()


def test_a_folder_is_free_again_after_closing(tmp_path):
    for _ in range(2):
        with opened(tmp_path) as lab:
            assert lab.runs.summaries(HOST) == []


@pytest.mark.slow
def test_what_a_dead_process_left_at_work_is_interrupted_and_can_be_resumed(tmp_path, kept):
    store = RunStore(tmp_path)
    run_id = store.create("left behind", TWELVE_STEPS.to_dict()).id
    store.update(run_id, status="running", phase="training", step=3, total_steps=12)
    store.add_metric(run_id, "probe", 3, 0.75, {"probe_loss": 99.0})
    store.add_metric(run_id, "probe", 5, 1.25, {"probe_loss": 99.0})
    store.close()
    with opened(tmp_path, writing=False) as reader:
        assert reader.training.status(HOST, run_id)["status"] == "running"
    with opened(tmp_path) as lab:
        status = lab.training.status(HOST, run_id)
        assert (status["status"], status["phase"], status["step"]) == ("interrupted", None, 3)
        assert "can be resumed" in status["message"]
        lab.training.resume(HOST, run_id)
        assert lab.training.wait(run_id, PATIENCE).status == "finished"
        assert curve(lab, run_id) == undisturbed(kept)


TRAINS = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from instruct_tune.lab import Lab
from instruct_tune.config.run_config import RunConfig
import json
from instruct_tune.config.viewer import HOST
lab = Lab(Path(sys.argv[1]))
run_id = lab.training.start(HOST, json.loads(sys.argv[2]), "killed")
print(run_id, flush=True)
lab.training.wait(run_id)
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_a_killed_process_loses_only_what_came_after_its_last_checkpoint(tmp_path):
    config = smoke(train={"num_train_epochs": 25, "save_total_limit": None})
    command = [sys.executable, "-c", TRAINS, str(tmp_path / "data"), json.dumps(config.to_dict())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    run_id = process.stdout.readline().strip()
    folder = tmp_path / "data" / "runs" / run_id
    until(lambda: len(checkpoints(folder)) >= 2, "two checkpoints")
    with pytest.raises(BusyError, match=f"pid {process.pid}"):
        Lab(tmp_path / "data")
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    last = int(checkpoints(folder)[-1].name.partition("-")[2])
    with opened(tmp_path / "data") as lab:
        run = lab.store.get(run_id)
        assert run.status == "interrupted"
        assert run.step >= last
        lab.training.resume(HOST, run_id)
        assert lab.training.wait(run_id, PATIENCE).status == "finished"
        assert f"Resuming from step {last}." in texts(lab.runs.details(HOST, run_id)["events"])
        whole = finished(lab, config)
        assert curve(lab, run_id) == curve(lab, whole)
