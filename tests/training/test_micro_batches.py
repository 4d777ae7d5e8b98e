"""A run that runs out of memory continues in smaller passes with the same numbers, or its error states what to
change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_lab import (
    NO_DROPOUT,
    SIX_STEPS,
    again,
    go,
    light,  # noqa: F401
    tiny_with,
)

from instruct_tune.batching import packing
from instruct_tune.errors import MemoryLimitError
from instruct_tune.training import activation_checkpointing, trainer, validation
from instruct_tune.training.micro_batches import MicroBatches
from instruct_tune.training.types import TrainingResult

OUT_OF_MEMORY = [
    pytest.param(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), id="gpu"),
    pytest.param(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), id="cpu"),
    pytest.param(MemoryError(), id="python"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_too_little_memory_is_an_error(tmp_path, monkeypatch, error):
    def full(model, pack, *how):
        raise error

    loaded = tiny_with()
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "supervised_loss", full)
        with pytest.raises(MemoryLimitError) as caught:
            go(loaded, tmp_path, replace(SIX_STEPS, probes=0))
    message = str(caught.value)
    assert "lower train.max_length" in message
    assert message.endswith(".")
    assert "CUDA" not in message
    # Neither the exception nor the model keeps a reference to the failed pass.
    assert caught.value.__cause__ is None
    assert all(p.grad is None for p in loaded.model.parameters())
    # The next run is unaffected.
    assert go(again(loaded), tmp_path / "next")[1] == TrainingResult(6, 6, stopped=False)


def test_an_error_that_is_not_about_memory_is_not_swallowed(tmp_path, monkeypatch):
    def broken(model, pack, *how):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(trainer, "supervised_loss", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        go(tiny_with(), tmp_path)


class Full:
    """From call ``since`` on, memory for ``tokens`` a pass; fails in the backward pass, after gradients have been
    added."""

    def __init__(self, monkeypatch, tokens: int, since: int = 0):
        self.calls, self.failed, self.widths = 0, 0, []
        real = trainer.supervised_loss

        def limited(model, pack, *how):
            self.calls += 1
            width = pack["input_ids"].numel()
            loss = real(model, pack, *how)
            if self.calls > since and width > tokens:
                self.failed += 1
                torch.rand(7)
                loss.backward(retain_graph=True)
                raise torch.OutOfMemoryError("CUDA out of memory.")
            self.widths.append(width)
            return loss

        monkeypatch.setattr(trainer, "supervised_loss", limited)


def test_a_step_that_ran_out_of_memory_is_done_again_in_smaller_passes(tmp_path, monkeypatch):
    settings = replace(SIX_STEPS, probes=0, eval_strategy="no", save_strategy="steps", save_steps=1)
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 240)
    with monkeypatch.context() as patched:
        patched.setitem(packing.TOKENS_PER_PASS, "cpu", 120)
        expected, _ = go(tiny_with(NO_DROPOUT), tmp_path / "wanted", settings)
    with monkeypatch.context() as patched:
        # Enough for any single row; the first steps do not fail.
        full = Full(patched, tokens=130, since=3)
        watcher, result = go(tiny_with(NO_DROPOUT), tmp_path / "run", settings)
    assert result == TrainingResult(6, 6, stopped=False)
    assert full.failed == 1
    assert max(full.widths[4:]) <= 120
    assert watcher.messages == ["Memory ran out: passes of 120 tokens from now on."]
    # Gradients of earlier micro-batches are kept, and those of the failed one are not counted twice.
    assert watcher.losses == pytest.approx(expected.losses, rel=1e-5)
    # A resumed run begins with the size that fitted.
    patient = Full(monkeypatch, tokens=130)
    go(
        tiny_with(NO_DROPOUT),
        tmp_path / "run",
        replace(settings, max_steps=7),
        resume_from=tmp_path / "run/checkpoint-6",
    )
    assert (patient.failed, patient.calls > 0) == (0, True)


def test_random_numbers_of_a_repeated_step_are_those_of_the_first_try(tmp_path, monkeypatch):
    """With one row a pass either way, a repeated micro-batch gives the same bits as an undisturbed one."""
    settings = replace(SIX_STEPS, probes=0)
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 1)
    expected, _ = go(tiny_with(), tmp_path / "wanted", settings)
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 400)
    real = trainer.supervised_loss

    def one_row_fits(model, pack, *how):
        if int((pack["position_ids"] == 0).sum()) > 1:
            torch.rand(7)
            raise MemoryError
        return real(model, pack, *how)

    monkeypatch.setattr(trainer, "supervised_loss", one_row_fits)
    watcher, _ = go(tiny_with(), tmp_path / "run", settings)
    assert watcher.losses == expected.losses
    assert watcher.messages


def test_an_evaluation_that_ran_out_of_memory_is_done_again(tmp_path, monkeypatch):
    settings = replace(SIX_STEPS, max_steps=1)
    expected, _ = go(tiny_with(), tmp_path / "wanted", settings)
    real, broken = validation.supervised_loss, []

    def full_once(model, pack, *how):
        if not broken:
            broken.append(pack)
            raise MemoryError
        return real(model, pack, *how)

    monkeypatch.setattr(validation, "supervised_loss", full_once)
    watcher, _ = go(tiny_with(), tmp_path / "run", settings)
    assert broken
    assert watcher.of("probe_loss", "probe") == pytest.approx(expected.of("probe_loss", "probe"), rel=1e-5)


class KeepsTooMuch:
    """Memory for no pass whose layers keep their activations; counts the passes it stops."""

    def __init__(self, monkeypatch):
        self.stopped = 0
        real = trainer.supervised_loss

        def limited(model, pack, *how):
            if not activation_checkpointing.is_on(model.base_model.model):
                self.stopped += 1
                torch.rand(7)
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return real(model, pack, *how)

        monkeypatch.setattr(trainer, "supervised_loss", limited)


SHORT = "Memory ran out with one row a pass: layers are computed twice from now on, a third slower."


@pytest.mark.slow
def test_a_run_without_memory_for_one_row_computes_its_layers_twice(tmp_path, monkeypatch):
    """With dropout, and bit for bit: recomputed layers use the same random numbers."""
    settings = replace(SIX_STEPS, probes=0, save_strategy="steps", save_steps=3)
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 1)
    expected, _ = go(tiny_with(), tmp_path / "wanted", settings)
    memory = KeepsTooMuch(monkeypatch)
    loaded = tiny_with()
    watcher, result = go(loaded, tmp_path / "run", settings)
    assert result == TrainingResult(6, 6, stopped=False)
    assert (memory.stopped, watcher.messages.count(SHORT)) == (1, 1)
    assert watcher.losses == expected.losses
    assert watcher.of("grad_norm") == expected.of("grad_norm")
    # Recomputation applies to no other run, but to this one when it resumes.
    assert not activation_checkpointing.is_on(loaded.base)
    second, _ = go(again(loaded), tmp_path / "run", settings, resume_from=tmp_path / "run/checkpoint-3")
    assert (memory.stopped, second.messages.count(SHORT)) == (1, 0)
    assert second.losses == {step: expected.losses[step] for step in (4, 5, 6)}


def test_layers_computed_twice_keep_less(tmp_path):
    loaded = tiny_with(NO_DROPOUT)
    loaded.model.train()
    ids = torch.arange(60)[None]

    def saved_numbers() -> int:
        count = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: count.append(t.numel()) or t, lambda t: t):
            loaded.model(input_ids=ids, labels=ids)
        return sum(count)

    usual = saved_numbers()
    passes = MicroBatches(loaded, lambda tokens: None, lambda: None)
    assert (passes.recompute(), passes.recompute()) == (True, False)
    assert saved_numbers() < usual / 2
