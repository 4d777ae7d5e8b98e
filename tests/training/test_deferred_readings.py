"""Metrics read a step late have the same values and the right step; a step never waits for the device."""

from __future__ import annotations

import math
import sys
import traceback
from dataclasses import replace

import pytest
import torch
from tiny_lab import (
    NO_DROPOUT,
    RUN,
    SIX_STEPS,
    Recorder,
    adapter_weights,
    again,
    go,
    light,  # noqa: F401
    same_tensors,
    tiny_with,
    toy,
)
from torch.utils._python_dispatch import TorchDispatchMode

from instruct_tune.batching.packing_mode import Packing
from instruct_tune.errors import DivergedError
from instruct_tune.models import lora
from instruct_tune.training import step_metrics, trainer
from instruct_tune.training.checkpoints import checkpoints
from instruct_tune.training.types import TrainingResult


@pytest.fixture
def late(monkeypatch):
    """Read late, as on a GPU."""
    monkeypatch.setattr(step_metrics, "reads_late", lambda device: True)


SETTINGS = replace(SIX_STEPS, probes=2, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=4)


def numbers(watcher: Recorder) -> dict:
    clock = ("seconds", "tokens_per_second")
    return {
        (kind, step): {name: value for name, value in values.items() if name not in clock}
        for kind, steps in watcher.metrics.items()
        for step, values in steps.items()
    }


def test_a_late_reading_changes_no_number(tmp_path, late, monkeypatch):
    loaded = tiny_with()
    reported_at: dict[int, int] = {}
    watcher = Recorder()
    report = watcher.metric

    def metric(kind, step, *rest):
        if kind == "train":
            reported_at[step] = watcher.step
        report(kind, step, *rest)

    watcher.metric = metric
    go(loaded, tmp_path / "late", SETTINGS, watcher)
    # One step later, except before a probe or an evaluation (as after the first step) and after the last step.
    assert reported_at == {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 6}
    assert watcher.repeated == []
    monkeypatch.setattr(step_metrics, "reads_late", lambda device: False)
    other = tiny_with()
    at_once, _ = go(other, tmp_path / "at once", SETTINGS)
    assert numbers(watcher) == numbers(at_once)
    assert same_tensors(adapter_weights(loaded), adapter_weights(other))


def test_a_stop_loses_no_number(tmp_path, late):
    plain = replace(SIX_STEPS, probes=0, eval_strategy="no", save_strategy="no")
    whole, _ = go(tiny_with(), tmp_path / "whole", plain)
    loaded = tiny_with()
    first, result = go(loaded, tmp_path / "run", plain, Recorder(stop_after=2))
    assert result == TrainingResult(2, 6, stopped=True)
    assert list(first.losses) == [1, 2]
    second, _ = go(again(loaded), tmp_path / "run", plain, resume_from=checkpoints(tmp_path / "run")[-1])
    assert first.losses | second.losses == whole.losses


def test_the_step_that_diverged_is_named_and_not_saved(tmp_path, late):
    settings = replace(SIX_STEPS, learning_rate=3e37, save_strategy="steps", save_steps=2, probes=0)
    watcher = Recorder()
    # The second step, or with an older torch the third.
    with pytest.raises(DivergedError, match=r"not a finite number at step [23]:") as caught:
        go(tiny_with(), tmp_path, settings, watcher)
    assert f"step {len(watcher.losses) + 1}:" in str(caught.value)
    assert all(math.isfinite(loss) for loss in watcher.losses.values())
    assert len(checkpoints(tmp_path)) == len(watcher.losses) // 2


NEWER = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the last transformers for Python 3.10 asks OPT for each layer's drop"
)


class SyncRecorder(TorchDispatchMode):
    """Records, while ``on``, each operation that would have to wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.on, self.operations = False, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            each is not None and each.dtype is torch.bool for each in args[1]
        )
        if self.on and (by_mask or name in ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2")):
            by = reversed(traceback.extract_stack(limit=7)[:-1])
            self.operations.append(name + " " + " < ".join(f"{each.filename}:{each.lineno}" for each in by))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("model_type", ["llama", pytest.param("opt", marks=NEWER), "gpt2", "gpt_neox", "qwen2"])
def test_nothing_is_read_from_the_device_in_a_step(tmp_path, monkeypatch, late, model_type):
    """Counted on a CPU, with the code paths of a GPU; building the passes is the host's own work and does not count."""
    loaded = toy(model_type, Packing.MASK, attention_dropout=0.0)
    lora.attach(loaded, RUN, NO_DROPOUT, seed=1)
    recorder = SyncRecorder()
    real_step, real_note = trainer.Trainer.training_step, step_metrics.DeferredReadings.note
    real_pack = trainer.MicroBatches.pack

    def pack(self, rows):
        recorder.on = False
        packs = real_pack(self, rows)
        recorder.on = True
        return packs

    def note(self, *reading):
        real_note(self, *reading)
        # The rest belongs to the code that probes the model between two steps.
        recorder.on = False

    def training_step(self, *arguments):
        recorder.on = True
        return real_step(self, *arguments)

    monkeypatch.setattr(trainer.MicroBatches, "pack", pack)
    monkeypatch.setattr(trainer.Trainer, "training_step", training_step)
    monkeypatch.setattr(step_metrics.DeferredReadings, "note", note)
    monkeypatch.setattr(step_metrics.DeferredReadings, "flush", lambda self: None)
    plain = replace(SIX_STEPS, probes=0, eval_strategy="no", save_strategy="no", max_steps=3, optim="adamw_torch_fused")
    with recorder:
        go(loaded, tmp_path, plain)
    assert recorder.operations == []


def test_the_count_of_questions_sees_them():
    with SyncRecorder() as recorder:
        recorder.on = True
        x = torch.arange(4.0)
        for operation in (lambda: x.sum().item(), lambda: bool(x.any()), lambda: x[x > 1], lambda: x.nonzero()):
            before = len(recorder.operations)
            operation()
            assert len(recorder.operations) > before
