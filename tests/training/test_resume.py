"""A run that was stopped or killed and then resumed equals, bit for bit, one that was never interrupted."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_lab import (
    RUN,
    SIX_STEPS,
    Recorder,
    adapter_weights,
    again,
    go,
    light,  # noqa: F401
    same_tensors,
    tiny_with,
)

from instruct_tune.batching import packing
from instruct_tune.models import lora
from instruct_tune.training import trainer
from instruct_tune.training.checkpoints import checkpoints
from instruct_tune.training.types import TrainingResult

STOPS = replace(SIX_STEPS, probes=0, eval_strategy="steps", eval_steps=2, save_strategy="no")


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory) -> SimpleNamespace:
    loaded = tiny_with()
    folder = tmp_path_factory.mktemp("unstopped")
    watcher, _ = go(loaded, folder, STOPS)
    assert checkpoints(folder) == []
    return SimpleNamespace(
        losses=watcher.losses, evaluations=watcher.of("eval_loss", "eval"), adapter=adapter_weights(loaded)
    )


@pytest.mark.parametrize(
    ("step", "at"),
    [
        (1, "progress"),
        (2, "progress"),
        (3, "progress"),
        (5, "progress"),
        (2, "yield_to_queue"),
        (3, "yield_to_queue"),
        (4, "yield_to_queue"),
        (4, "evaluating"),
        (6, "evaluating"),
    ],
)
def test_stopped_and_resumed_is_uninterrupted(tmp_path, unstopped, step, at):
    """Dropout, accumulation, evaluation in mid-epoch: bit for bit, wherever it stops."""
    loaded = tiny_with()
    first, result = go(loaded, tmp_path, STOPS, Recorder(stop_after=step, at=at))
    assert result == TrainingResult(step, 6, stopped=True)
    # Within one step, with the last finished one on disk.
    assert list(first.losses) == list(range(1, step + 1))
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}"]
    torch.rand(7)
    second, result = go(again(loaded), tmp_path, STOPS, resume_from=checkpoints(tmp_path)[-1])
    assert result == TrainingResult(6, 6, stopped=False)
    assert list(second.losses) == list(range(step + 1, 7))
    assert first.losses | second.losses == unstopped.losses
    assert first.of("eval_loss", "eval") | second.of("eval_loss", "eval") == unstopped.evaluations
    assert same_tensors(adapter_weights(loaded), unstopped.adapter)


def test_a_run_with_more_steps_than_it_needs_has_finished(tmp_path):
    loaded = tiny_with()
    go(loaded, tmp_path, replace(STOPS, max_steps=7, save_strategy="steps", save_steps=7))
    _, result = go(again(loaded), tmp_path, STOPS, resume_from=checkpoints(tmp_path)[-1])
    assert result == TrainingResult(7, 6, stopped=False)


def test_a_stop_in_the_middle_of_a_step(tmp_path, monkeypatch, unstopped):
    watcher = Recorder()
    supervised_loss = trainer.supervised_loss
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 100_000)

    def stop_in_step_two(model, pack, *how):
        watcher.stop = watcher.step == 1
        return supervised_loss(model, pack, *how)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "supervised_loss", stop_in_step_two)
        loaded = tiny_with()
        _, result = go(loaded, tmp_path, STOPS, watcher)
    assert result == TrainingResult(1, 6, stopped=True)
    assert list(watcher.losses) == [1]
    assert all(p.grad is None for p in loaded.model.parameters())
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1"]
    second, _ = go(again(loaded), tmp_path, STOPS, resume_from=checkpoints(tmp_path)[-1])
    assert watcher.losses | second.losses == unstopped.losses


def test_a_stop_in_the_middle_of_a_step_comes_at_once(tmp_path, monkeypatch):
    """With eight micro-batches a step, it stops after the current micro-batch and not after the step."""
    watcher = Recorder()
    passes = []
    supervised_loss = trainer.supervised_loss

    def stop_at_the_third(model, pack, *how):
        passes.append(pack)
        watcher.stop = len(passes) == 3
        return supervised_loss(model, pack, *how)

    monkeypatch.setattr(trainer, "supervised_loss", stop_at_the_third)
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 100_000)
    settings = replace(STOPS, per_device_train_batch_size=1, gradient_accumulation_steps=8)
    loaded = tiny_with()
    _, result = go(loaded, tmp_path, settings, watcher)
    assert result == TrainingResult(0, 4, stopped=True)
    assert len(passes) == 3
    assert watcher.losses == {}
    assert all(p.grad is None for p in loaded.model.parameters())
    assert lora.is_zero(loaded, RUN)


def test_killed_and_resumed_is_uninterrupted(tmp_path, undisturbed):
    """From a checkpoint older than the last step: steps are repeated, with the same numbers."""

    class Killed(BaseException):
        pass

    def die(step: int) -> None:
        if step == 5:
            raise Killed

    first = Recorder(between=die)
    with pytest.raises(Killed):
        go(tiny_with(), tmp_path, watcher=first)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]
    loaded = tiny_with(seed=5)
    second, _ = go(loaded, tmp_path, resume_from=tmp_path / "checkpoint-3")
    assert list(first.losses) == [1, 2, 3, 4, 5]
    assert list(second.losses) == [4, 5, 6]
    assert first.losses | second.losses == undisturbed.losses
    assert second.of("probe_loss", "probe") == {6: undisturbed.watcher.of("probe_loss", "probe")[6]}
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)


def test_stopped_again_and_again(tmp_path, unstopped):
    losses = {}
    loaded = tiny_with()
    # The second and the last stop come immediately after a resume.
    for step in (1, 1, 3, 4, 4):
        last = checkpoints(tmp_path)[-1:]
        watcher = Recorder(stop_after=step, at="yield_to_queue")
        go(again(loaded), tmp_path, STOPS, watcher, *last)
        losses |= watcher.losses
    watcher, _ = go(again(loaded), tmp_path, STOPS, resume_from=checkpoints(tmp_path)[-1])
    assert losses | watcher.losses == unstopped.losses


def test_stopped_before_the_first_step(tmp_path):
    loaded = tiny_with()
    watcher, result = go(loaded, tmp_path, watcher=Recorder(stop_after=0, at="yield_to_queue"))
    # The adapter is still zero, which is no divergence: it has not trained yet.
    assert result == TrainingResult(0, 6, stopped=True)
    assert (watcher.losses, checkpoints(tmp_path)) == ({}, [])
    assert lora.is_zero(loaded, RUN)


def test_a_stop_after_the_last_step_changes_nothing(tmp_path, undisturbed):
    unmeasured = replace(SIX_STEPS, probes=0, eval_strategy="no")
    watcher, result = go(tiny_with(), tmp_path, unmeasured, Recorder(stop_after=6))
    assert result == TrainingResult(6, 6, stopped=False)
    assert watcher.losses == undisturbed.losses


WITHIN_AN_EPOCH = replace(STOPS, max_steps=5, lr_scheduler_type="constant")
"""Its last step is neither the end of an epoch nor one of those that are evaluated."""


@pytest.mark.parametrize("measured", [{}, {"eval_strategy": "epoch"}, {"eval_strategy": "no", "probes": 2}])
def test_a_stop_in_the_last_measurements_leaves_them_to_the_resume(tmp_path, measured):
    settings = replace(WITHIN_AN_EPOCH, **measured)
    whole = tiny_with()
    expected, result = go(whole, tmp_path / "whole", settings)
    assert result == TrainingResult(5, 5, stopped=False)
    loaded = tiny_with()
    first, result = go(loaded, tmp_path / "cut", settings, Recorder(stop_after=5, at="evaluating"))
    assert result == TrainingResult(5, 5, stopped=True)
    second, result = go(again(loaded), tmp_path / "cut", settings, resume_from=checkpoints(tmp_path / "cut")[-1])
    assert result == TrainingResult(5, 5, stopped=False)
    # No sixth step, though the epoch has one.
    assert second.losses == {}
    for kind in ("eval", "probe"):
        assert first.metrics[kind] | second.metrics[kind] == expected.metrics[kind]
        assert max(expected.metrics[kind], default=5) == 5
    assert same_tensors(adapter_weights(loaded), adapter_weights(whole))


def test_resuming_what_is_finished_does_nothing(undisturbed, tmp_path):
    loaded = tiny_with(seed=9)
    watcher, result = go(loaded, tmp_path, resume_from=undisturbed.folder / "checkpoint-6")
    assert result == TrainingResult(6, 6, stopped=False)
    assert watcher.losses == {}
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)
