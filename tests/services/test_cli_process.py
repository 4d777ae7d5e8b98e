"""The command line in its own process: exit status, stdout and stderr, a silent Hub, Ctrl-C."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from commands import ROOT, TRAIN, _folders, answer_of, command, ran, run
from labs import PATIENCE, Pace, press_ctrl_c

from instruct_tune.cli.commands import main
from instruct_tune.store.run_store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_process_ends_with_the_status_and_says_one_line(tmp_path):
    status, out, err = ran("data", "--set", "lora.r=0", "--set", "train.epochs=1")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "lora.r" in err
    assert ran("dance")[0] == 2
    status, out, err = ran("runs", "list", "--json")
    assert (status, json.loads(out), err) == (0, {"runs": []}, "")


@contextlib.contextmanager
def silent_hub():
    """A Hub that accepts connections and never answers: the worst kind of no network.

    Yields its address and a list of (accepted connection, time in ``time.monotonic`` seconds).
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []

        def accept_all():
            for _ in range(100):
                accepted.append((server.accept(), time.monotonic()))

        threading.Thread(target=accept_all, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", accepted


@pytest.fixture
def start():
    """Starts a command in its own process, which a test can send Ctrl-C."""
    started = []

    def start(*arguments):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command(*arguments), cwd=ROOT, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def until(true, process):
    deadline = time.monotonic() + 300
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    assert out.count("\n") == 1, (out, err)
    return process.returncode, json.loads(out), err


LONG = ["--preset", "smoke", "--set", "train.num_train_epochs=1000", "--set", "train.eval_strategy=no"]


@pytest.mark.slow
def test_ctrl_c_stops_a_training_and_resume_goes_on(tmp_path, answer_of, start):
    stop_and_resume(tmp_path, answer_of, start, signal.SIGINT, 130)


def stop_and_resume(tmp_path, answer_of, start, signum, expected):
    """Send a training the signal ``signum``, require the exit status ``expected``, and resume the run to its end."""
    process = start("train", "--json", *LONG, "--set", "train.max_steps=120")
    with contextlib.closing(RunStore(tmp_path / "data")) as store:
        until(lambda: any(run.step >= 2 for run in store.all()), process)
        # Another process sees the run at work, and later stopped.
        assert answer_of("runs", "list")["runs"][0]["status"] == "running"
        process.send_signal(signum)
        status, done, _ = ended(process)
        assert (status, done["status"]) == (expected, "stopped")
        assert set(done) >= TRAIN
        assert 2 <= done["steps"] < 120
        assert Path(done["adapter"], "adapter_model.safetensors").is_file()
        assert store.get(done["run_id"]).status == "stopped"
    resumed = answer_of("train", "--resume", done["run_id"])
    assert (resumed["run_id"], resumed["status"], resumed["steps"]) == (done["run_id"], "finished", 120)


SLOW_ANSWERS = [
    *("--preset", "smoke"),
    *("--set", "evaluation_rows=null"),
    *("--set", "generation.max_new_tokens=1500"),
    *("--set", "train.eval_strategy=no"),
]


@pytest.mark.nightly
@pytest.mark.slow
def test_ctrl_c_in_the_evaluation_of_a_lesson_still_prints_the_object(answer_of, start):
    done = stop_while_answering(answer_of, start("lesson", *SLOW_ANSWERS, "--json"))
    assert (done["status"], done["train"]["status"]) == ("stopped", "finished")
    assert done["evaluation"] is None


def stop_while_answering(answer_of, process):
    """Send Ctrl-C to an evaluation at work, require that its run has no evaluation, and return the printed object."""
    for line in process.stderr:
        if line.startswith("answers 0 of"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    status, done, _ = ended(process)
    assert status == 130
    assert answer_of("runs", "list")["runs"][0]["status"] == "finished"
    assert answer_of("runs", "show", answer_of("runs", "list")["runs"][0]["id"])["evaluations"] == []
    return done
