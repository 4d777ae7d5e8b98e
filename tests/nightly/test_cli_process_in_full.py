"""The slow tests of tests/services/test_cli_process.py, for the nightly run."""

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
from test_cli_process import LONG, SLOW_ANSWERS, ended, silent_hub, start, stop_and_resume, stop_while_answering

from instruct_tune.cli.commands import main
from instruct_tune.store.run_store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--preset", "smoke", "--model", "facebook/opt-125m"],
        ["mask", "--model", "facebook/opt-125m", "--instruction", "a", "--output", "b"],
        ["data", "--dataset", "codealpaca-20k"],
        ["data", "--dataset", "hub:some/data"],
    ],
)
def test_a_hub_that_does_not_answer_is_reported_within_seconds(tmp_path, arguments):
    with silent_hub() as (address, requests):
        status, out, err = ran(*arguments, HF_ENDPOINT=address, HF_HOME=str(tmp_path / "empty"), HF_HUB_OFFLINE="0")
        # Timed from the first request to the Hub, so that the time of imports does not count.
        took = time.monotonic() - requests[0][1]
    assert (status, out) == (1, "")
    assert "Traceback" not in err
    assert "Hub cannot be reached" in err.splitlines()[-1]
    assert took < 20 if "train" in arguments else took < 10


def test_ctrl_c_while_a_resumed_training_loads_is_a_stop_too(tmp_path, monkeypatch, capsys, start):
    pace = Pace(monkeypatch)
    pace.at[2] = press_ctrl_c
    assert main(["train", *LONG, "--set", "train.max_steps=5000", "--json"]) == 130
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    process = start("train", "--json", "--resume", run_id)
    assert process.stderr.readline() == f"run {run_id}\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    status, done, _ = ended(process)
    assert (status, done["status"], done["run_id"]) == (130, "stopped", run_id)


def test_sigterm_stops_a_training_and_resume_goes_on(tmp_path, answer_of, start):
    stop_and_resume(tmp_path, answer_of, start, signal.SIGTERM, 143)


def test_ctrl_c_in_an_evaluation_still_prints_the_object(answer_of, start):
    run_id = answer_of("train", *SLOW_ANSWERS)["run_id"]
    assert stop_while_answering(answer_of, start("evaluate", "--run", run_id, "--json"))["status"] == "stopped"
