"""A stop in the middle of a step: at once, with the last finished step on disk, and bit-identical after a resume."""

import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import pytest
import torch
from browser import ROOT
from tiny_lab import SIX_STEPS, Recorder, adapter_weights, again, go, light, same_tensors, tiny_with

from instruct_tune.batching import packing
from instruct_tune.errors import Stopped
from instruct_tune.training.checkpoints import checkpoints
from instruct_tune.training.interruptible import interruptible
from instruct_tune.training.types import TrainingResult

__all__ = ["light"]
ONE_PASS = replace(SIX_STEPS, probes=0, eval_strategy="no", save_strategy="no")


class AtLayer(Recorder):
    """Requests a stop at the nth ``stopping`` call after ``step``: before a layer, or in the backward pass."""

    def __init__(self, step: int, question: int):
        super().__init__()
        self.after, self.question, self.calls = step, question, 0

    def stopping(self) -> bool:
        self.calls += self.step == self.after
        return self.calls >= self.question


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    loaded = tiny_with()
    watcher, _ = go(loaded, tmp_path_factory.mktemp("whole"), ONE_PASS)
    return watcher.losses, adapter_weights(loaded)


def layers_of(model) -> int:
    return sum(len(module) for module in model.modules() if isinstance(module, torch.nn.ModuleList))


@pytest.mark.parametrize("question", range(2, 9))
def test_left_in_the_middle_of_a_step_and_resumed_is_uninterrupted(tmp_path, monkeypatch, whole, question):
    """Before layers one and two, in the backward pass (4), between passes (5), and the same in the second pass."""
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 100_000)
    losses, weights = whole
    loaded = tiny_with()
    watcher = AtLayer(1, question)
    _, result = go(loaded, tmp_path, ONE_PASS, watcher)
    assert result == TrainingResult(1, 6, stopped=True)
    assert watcher.calls == question, "it left at that very layer"
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1"]
    assert all(parameter.grad is None for parameter in loaded.model.parameters())
    second, _ = go(again(loaded), tmp_path, ONE_PASS, resume_from=checkpoints(tmp_path)[-1])
    assert watcher.losses | second.losses == losses
    assert same_tensors(adapter_weights(loaded), weights)


def test_each_layer_checks_on_both_ways(tmp_path, monkeypatch):
    loaded = tiny_with()
    count = layers_of(loaded.base)
    calls = []
    ids = torch.arange(5)[None]
    loaded.model.train()
    with interruptible(loaded.base, lambda: bool(calls.append("forward"))):
        loss = loaded.model(input_ids=ids, labels=ids).loss
        assert len(calls) == count
        loss.backward()
        # The first layer's input is the frozen embedding, which gets no gradient.
        assert len(calls) == 2 * count - 1
    loaded.model(input_ids=ids)
    assert len(calls) == 2 * count - 1, "nothing is checked outside"


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_it_is_left_as_stopped_and_not_as_something_else(way):
    loaded = tiny_with()
    ids = torch.arange(5)[None]
    stop = []
    loaded.model.train()
    with interruptible(loaded.base, lambda: bool(stop)):
        if way == "backward":
            loss = loaded.model(input_ids=ids, labels=ids).loss
        stop.append(True)
        with pytest.raises(Stopped):
            loss.backward() if way == "backward" else loaded.model(input_ids=ids)


# A Space sends its process SIGTERM, and kills it ten seconds later.

SLOW_LAB = """
import sys, time
from pathlib import Path
import app
import gradio.networking
from transformers.models.llama import modeling_llama
from instruct_tune.store.run_store import RunStore
data_dir, port = Path(sys.argv[1]), int(sys.argv[2])
# A machine that is too busy to answer within gradio's three seconds serves all the same.
gradio.networking.url_ok = lambda url: False
forward = modeling_llama.LlamaDecoderLayer.forward
def slow(*given, **named):
    # From the third step on a layer takes two seconds, and a step half a minute.
    if next(data_dir.glob("slow"), None):
        (data_dir / "in-a-step").touch()
        time.sleep(2)
    return forward(*given, **named)
modeling_llama.LlamaDecoderLayer.forward = slow
add_metric = RunStore.add_metric
def watched(store, run_id, kind, step, *rest):
    add_metric(store, run_id, kind, step, *rest)
    if kind == "train" and step == 2:
        (data_dir / "slow").touch()
RunStore.add_metric = watched
sys.exit(app.serve("127.0.0.1", port, data_dir))
"""
STEPS = {"num_train_epochs": 4, "probes": 0, "eval_strategy": "no", "save_strategy": "no", "save_minutes": None,
         "gradient_accumulation_steps": 8, "per_device_train_batch_size": 1}  # fmt: skip


def until(true, what):
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def _answers(request) -> bool:
    try:
        urllib.request.urlopen(request, timeout=60)
    except OSError:
        return False
    return True


@pytest.mark.slow
def test_a_port_that_is_taken_is_reported_in_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [
            sys.executable,
            "app.py",
            "--port",
            str(taken.getsockname()[1]),
            "--data-dir",
            str(tmp_path / "data"),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "app.py: The page cannot be served there" in done.stderr
    assert "Traceback" not in done.stderr
