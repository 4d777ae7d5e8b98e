"""The slow tests of tests/services/test_signals.py, for the nightly run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import pytest
import torch
from browser import ROOT
from labs import PATIENCE, cache_for, opened, smoke
from test_signals import SLOW_LAB, STEPS, _answers, until, whole
from tiny_lab import SIX_STEPS, Recorder, adapter_weights, again, go, light, same_tensors, tiny_with

from instruct_tune.batching import packing
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import Stopped
from instruct_tune.training.checkpoints import checkpoints, step_of
from instruct_tune.training.interruptible import interruptible
from instruct_tune.training.types import TrainingResult


def test_sigterm_in_the_middle_of_a_long_step_leaves_in_time_with_the_last_finished_one(
    tmp_path, tmp_path_factory, monkeypatch
):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data_dir, config = tmp_path / "data", smoke(train=STEPS)
    command = [sys.executable, "-c", SLOW_LAB, str(data_dir), str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        start = f"http://127.0.0.1:{port}/gradio_api/call/start_run"
        posted = json.dumps({"data": [config.to_dict(), "long"]}).encode()
        request = urllib.request.Request(start, posted, {"Content-Type": "application/json"})
        until(lambda: _answers(request), "the page")
        until((data_dir / "in-a-step").exists, "a step that is long")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert time.monotonic() - began < 10
    finally:
        process.kill()
    with opened(data_dir) as lab:
        (run,) = [run for run in lab.runs.summaries(HOST) if not run["recorded"]]
        assert (run["status"], run["step"]) == ("interrupted", 2)
        assert run["message"] == "The lab was closed at step 2 of 8; the adapter is kept."
        assert [step_of(path) for path in checkpoints(lab.store.folder(run["id"]))] == [2]
        lab.training.resume(HOST, run["id"])
        assert lab.training.wait(run["id"], PATIENCE).status == "finished"
        whole = lab.training.start(HOST, config)
        lab.training.wait(whole, PATIENCE)
        assert [m["loss"] for m in lab.runs.metrics(HOST, run["id"])] == [
            m["loss"] for m in lab.runs.metrics(HOST, whole)
        ]
