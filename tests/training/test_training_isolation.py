"""Earlier work, other adapters and requests served between steps do not change a bit of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_lab import (
    DROPOUT,
    NO_DROPOUT,
    RUN,
    SIX_STEPS,
    Recorder,
    adapter_weights,
    again,
    go,
    light,  # noqa: F401
    same_tensors,
    some_rows,
    tiny,
    tiny_with,
)

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.errors import DivergedError
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora as adapter
from instruct_tune.training import trainer
from instruct_tune.training.types import TrainingData

TESTS = Path(__file__).parents[1]


def test_the_same_seed_is_the_same_run(tmp_path, undisturbed):
    torch.manual_seed(4711)
    torch.rand(3)
    loaded = tiny_with()
    watcher, _ = go(loaded, tmp_path)
    assert watcher.losses == undisturbed.losses
    assert watcher.of("grad_norm") == undisturbed.watcher.of("grad_norm")
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)
    other, _ = go(tiny_with(), tmp_path / "other", replace(SIX_STEPS, seed=43))
    assert all(other.losses[step] != loss for step, loss in undisturbed.losses.items())


def test_the_seed_draws_the_dropout_too(tmp_path):
    """The same row everywhere, so that its order does not matter."""
    losses = {}
    for lora in (DROPOUT, NO_DROPOUT):
        for seed in (42, 43):
            loaded = tiny_with(lora)
            data = TrainingData(some_rows(loaded, 1) * 8, [], [])
            watcher, _ = go(loaded, tmp_path / f"{lora.lora_dropout} {seed}", replace(SIX_STEPS, seed=seed), data=data)
            losses[lora, seed] = watcher.losses
    assert losses[NO_DROPOUT, 42] == losses[NO_DROPOUT, 43]
    assert losses[DROPOUT, 42] != losses[DROPOUT, 43]


SERVED = [
    pytest.param(["__base__"], GenerationSettings(max_new_tokens=3), id="base, greedy"),
    pytest.param([RUN], GenerationSettings(max_new_tokens=3), id="tuned, greedy"),
    pytest.param([RUN, "__base__"], GenerationSettings(max_new_tokens=3, do_sample=True), id="both, sampled"),
    pytest.param(["__base__"], GenerationSettings(max_new_tokens=3, num_beams=2), id="base, beams"),
    pytest.param([RUN, "__base__"], GenerationSettings(max_new_tokens=3, num_beams=2), id="both, beams"),
]


@pytest.mark.parametrize(("adapter_names", "settings"), SERVED)
def test_answers_between_steps_leave_the_run_alone(tmp_path, undisturbed, adapter_names, settings):
    loaded = tiny_with()
    prompt = tuple(loaded.tokenizer("Say 7")["input_ids"])
    answers = []

    def serve(step: int) -> None:
        answers.append(generate(loaded, [Request(prompt, adapter_name) for adapter_name in adapter_names], settings))

    watcher, _ = go(loaded, tmp_path, watcher=Recorder(between=serve))
    assert len(answers) == 6
    assert watcher.losses == undisturbed.losses
    assert watcher.of("probe_loss", "probe") == undisturbed.watcher.of("probe_loss", "probe")
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


@pytest.fixture(scope="module")
def another(tmp_path_factory) -> Path:
    """The saved adapter of another run."""
    loaded = tiny_with(seed=8)
    folder = tmp_path_factory.mktemp("another")
    go(loaded, folder / "run", replace(SIX_STEPS, seed=8))
    adapter.save(loaded, RUN, folder / "adapter")
    return folder / "adapter"


@pytest.mark.parametrize(("load_at", "remove_at"), [(None, 3), (None, None), (2, 4)])
def test_another_adapter_beside_the_run_leaves_it_alone(tmp_path, undisturbed, another, load_at, remove_at):
    """Although it is loaded, used for answers and removed while the run trains."""
    loaded = tiny_with()
    prompt = tuple(loaded.tokenizer("Say 7")["input_ids"])
    answers = []

    def ask() -> None:
        for adapter_names in (["another"], ["another", RUN]):
            requests = [Request(prompt, adapter_name) for adapter_name in adapter_names]
            answers.extend(generate(loaded, requests, GenerationSettings(max_new_tokens=2)))

    if load_at is None:
        adapter.load(loaded, "another", another)
        loaded.model.set_adapter(RUN)

    def change(step: int) -> None:
        if step == load_at:
            adapter.load(loaded, "another", another)
            loaded.model.set_adapter(RUN)
        if step == remove_at:
            adapter.remove(loaded, "another")
        if "another" in adapter.names(loaded):
            ask()

    watcher, _ = go(loaded, tmp_path, watcher=Recorder(between=change))
    assert len(answers) >= 6
    assert watcher.losses == undisturbed.losses
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)
    if remove_at is None:
        fresh = tiny()
        adapter.load(fresh, "another", another)
        assert same_tensors(adapter_weights(loaded, "another"), adapter_weights(fresh, "another"))
    # The run's checkpoints do not contain the other adapter either.
    assert sorted(path.name for path in (tmp_path / "checkpoint-6").glob("adapter*")) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert not any(path.is_dir() for path in (tmp_path / "checkpoint-6").iterdir())


@pytest.fixture(scope="module")
def fresh_process() -> SimpleNamespace:
    """The result of six steps in a fresh interpreter."""
    code = """
import instruct_tune.training.train
from huggingface_hub import constants
print(constants.HF_HUB_DISABLE_TELEMETRY)
from tiny_lab import train_in_a_fresh_process
train_in_a_fresh_process()
"""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS / 'support'}"}
    # This process has it set by now, and the child would inherit it.
    environment.pop("HF_HUB_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    silent, losses = done.stdout.splitlines()
    return SimpleNamespace(
        silent=silent == "True",
        losses={int(step): float.fromhex(loss) for step, loss in json.loads(losses).items()},
    )


@pytest.mark.slow
def test_training_disables_hub_telemetry(fresh_process):
    """TRL's trainer reports its use to the Hub unless huggingface_hub's telemetry was disabled before its import."""
    assert fresh_process.silent


@pytest.mark.slow
def test_what_came_before_in_the_process_does_not_matter(tmp_path, monkeypatch, fresh_process):
    """Accelerate keeps its state in singletons: an aborted run must leave nothing there."""
    loaded = tiny_with()
    torn = [
        Recorder(stop_after=2),
        Recorder(stop_after=1, at="yield_to_queue"),
        Recorder(stop_after=3, at="evaluating"),
    ]
    for number, watcher in enumerate(torn):
        _, result = go(again(loaded), tmp_path / f"torn-{number}", watcher=watcher)
        assert result.stopped
    with pytest.raises(DivergedError):
        go(again(loaded), tmp_path / "diverged", replace(SIX_STEPS, learning_rate=3e37))
    watcher = Recorder()
    supervised_loss = trainer.supervised_loss

    def stop_at_once(model, pack, *how):
        watcher.stop = True
        return supervised_loss(model, pack, *how)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "supervised_loss", stop_at_once)
        go(again(loaded), tmp_path / "in a step", replace(SIX_STEPS, probes=0), watcher)
    go(again(loaded), tmp_path / "bf16", replace(SIX_STEPS, bf16=True))
    watcher, _ = go(again(loaded), tmp_path / "whole")
    assert watcher.losses == fresh_process.losses


def test_mixed_precision_ends_with_its_run(tmp_path, another):
    """While another adapter keeps the PeftModel alive, the next run must not be in bfloat16."""
    loaded = tiny_with()
    adapter.load(loaded, "another", another)
    loaded.model.set_adapter(RUN)
    go(loaded, tmp_path / "bf16", replace(SIX_STEPS, bf16=True))
    assert "forward" not in loaded.model.__dict__
    watcher, _ = go(again(loaded), tmp_path / "float32")
    expected, _ = go(tiny_with(), tmp_path / "alone")
    assert watcher.losses == expected.losses
