"""Model downloads for a run, an evaluation, a comparison or a merge: bytes are shown, and a stop ends the download."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_hub import ToyHub, serving_hub

from instruct_tune.pretrained.tiny_random import make_tiny_model
from instruct_tune.util import progress as module
from instruct_tune.util.progress import Loading, megabytes

# Each test starts processes that import torch, which takes seconds.
pytestmark = pytest.mark.slow

LARGE = 8 * 2**20

# Runs in its own process, since the Hub's client reads its address when it is imported.
LAB = """
import json, sys, threading, time
from pathlib import Path
from instruct_tune.lab import Lab
from instruct_tune.ui.run_text import run_sentence
from instruct_tune.config.run_config import RunConfig

def until(true):
    deadline = time.monotonic() + 120
    while not (value := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value

def seconds(work):
    began = time.monotonic()
    return work(), time.monotonic() - began

from instruct_tune.config.viewer import HOST
lab = Lab(Path(sys.argv[1]))
config = RunConfig.from_dict({"model": "some/model"}, "smoke")
"""
STOPS_A_RUN = """
run_id = lab.training.start(HOST, config)
def large(status):
    return status if status["download"] and status["download"]["done"] > 2**20 else None

status = until(lambda: large(lab.training.status(HOST, run_id)))
events = len(lab.runs.events(HOST, run_id))
lab.training.stop(HOST, run_id)
run, took = seconds(lambda: lab.training.wait(run_id, 60))
after = lab.training.status(HOST, run_id)
print(json.dumps({
    "download": status["download"], "sentence": run_sentence(status), "status": run.status, "message": run.message,
    "took": took, "events": events, "after": after["download"],
}))
lab.close()
"""
ASKS_WITHOUT_WEIGHTS = """
from instruct_tune.errors import Stopped
from instruct_tune.util import progress as loading
loading.FOLLOW_SECONDS = 0.2

run_id = lab.training.start(HOST, config)
assert lab.training.wait(run_id, 120).status == "finished", lab.store.get(run_id).message
lab.models._loaded = lab.models._key = None
for file in Path(sys.argv[2]).rglob("tokenizer.json"):
    file.resolve().unlink()
    file.unlink()
print("forgotten", file=sys.stderr, flush=True)
input()

stop, messages = threading.Event(), []
def compare():
    for news in lab.inference.compare(HOST, run_id, "Hi", stop=stop):
        messages.append(news)
asking = threading.Thread(target=compare)
asking.start()
until(lambda: any("MB/s" in news.get("message", "") for news in messages))
stop.set()
_, took_compare = seconds(lambda: asking.join(60))

progress = []
evaluation = lab.evaluations.start(HOST, run_id, 2, on_progress=progress.append)
until(lambda: any("MB/s" in news.get("message", "") for news in progress))
lab.evaluations.stop(HOST, run_id)
error, took_evaluation = seconds(lambda: evaluation.exception(60))
texts = []
def export():
    try:
        lab.transfers.export_merged(HOST, run_id, Path(sys.argv[1]) / "merged.zip", texts.append)
    except Exception as error:
        texts.append(error)
exporting = threading.Thread(target=export)
exporting.start()
until(lambda: any("MB/s" in text for text in texts))
_, took_export = seconds(lambda: (lab.close(), exporting.join(60)))
print(json.dumps({
    "export": [str(texts[-1]), took_export],
    "compare": [messages[-1], took_compare], "evaluation": [type(error).__name__, took_evaluation],
    "message": next(news["message"] for news in progress if "MB/s" in news.get("message", "")),
}))
"""


@pytest.fixture
def toy(tmp_path):
    make_tiny_model(tmp_path / "model")
    files = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    return ToyHub({}, models={"some/model": {**files, "tokenizer.json": files["tokenizer.json"].ljust(LARGE)}})


def begin(tmp_path, address, *command):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *command],
        env={
            **os.environ,
            "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0",
            "LAB_CACHE_DIR": str(tmp_path / "lab"), "LAB_DATA_DIR": str(tmp_path / "data"),
        },
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process, entered=None):
    out, err = process.communicate(entered, timeout=300)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.nightly
def test_a_run_shows_the_bytes_of_its_model_and_can_be_stopped_meanwhile(toy, tmp_path):
    toy.pause = 0.05
    with serving_hub(toy) as address:
        out, _ = ended(begin(tmp_path, address, "-c", LAB + STOPS_A_RUN, str(tmp_path / "data")))
    result = json.loads(out)
    total = sum(map(len, toy.models["some/model"].values()))
    assert (result["download"]["phase"], result["download"]["total"]) == ("Downloading some/model (6 files)", total)
    assert 2**20 < result["download"]["done"] < LARGE
    assert f"of {total / 1e6:,.1f} MB" in result["sentence"]
    assert "some/model" in result["sentence"]
    assert (result["status"], result["message"]) == ("stopped", "Stopped before the first step was done.")
    assert result["took"] < 5
    assert result["after"] is None
    assert toy.sent * 64 * 1024 < LARGE, "the rest was not sent"
    assert result["events"] <= 3, "the history is no place for a progress bar"


@pytest.mark.nightly
def test_evaluating_comparing_and_merging_show_a_download_and_stop_it(toy, tmp_path):
    with serving_hub(toy) as address:
        script = LAB + ASKS_WITHOUT_WEIGHTS
        process = begin(tmp_path, address, "-c", script, str(tmp_path / "data"), str(tmp_path / "hf"))
        while (line := process.stderr.readline()) and "forgotten" not in line:
            pass
        toy.pause = 0.05
        out, _ = ended(process, "\n")
    result = json.loads(out)
    assert result["compare"][0]["stopped"]
    assert result["evaluation"][0] == "Stopped"
    assert result["message"].startswith("Downloading some/model")
    assert result["export"][0] == "Stopped."
    assert max(result["compare"][1], result["evaluation"][1], result["export"][1]) < 5


def test_a_follower_gets_a_message_every_few_seconds_and_none_where_nothing_is_counted(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    messages = []
    loading = Loading(follow=messages.append)
    loading.enter("Asking")
    for _ in range(10):
        now[0] += 1
        loading.advance(1_000_000)
    assert messages == []
    loading.enter("Downloading x", 30_000_000)
    for _ in range(20):
        now[0] += 0.5
        loading.advance(1_000_000)
    assert len(messages) in (5, 6)
    assert messages[0] == "Downloading x: 1.0 of 30.0 MB, 2.0 MB/s"
    assert megabytes(0, 1_234_500_000, 0.0) == "0.0 of 1,234.5 MB, 0.0 MB/s"
