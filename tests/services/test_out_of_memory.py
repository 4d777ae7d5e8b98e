"""A run that runs out of memory says what to change; the lab goes on, and the run's memory is free again."""

import weakref

import pytest
import torch
from labs import PATIENCE, finished, smoke

from instruct_tune.batching import packing
from instruct_tune.config.viewer import HOST
from instruct_tune.training import trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_without_memory_fails_with_what_to_change_and_the_lab_goes_on(lab, monkeypatch):
    held = []

    def full(model, pack, *how):
        logits = torch.zeros(1_000_000)
        held.append(weakref.ref(logits))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "supervised_loss", full)
        patched.setitem(packing.TOKENS_PER_PASS, "cpu", 4000)
        run_id = lab.training.start(HOST, smoke(train={"probes": 0}), "")
        run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind) == ("failed", "memory")
    assert "lower train.max_length or lora.r" in run.message
    # Smaller passes were tried first, as the log shows, and all their memory is free again.
    assert any("Memory ran out: passes of 2000 tokens" in event["text"] for event in lab.runs.events(HOST, run_id))
    assert len(held) > 1
    assert [reference() for reference in held] == [None] * len(held)
    # The queue's thread is alive: it trains the next run.
    assert lab.store.get(finished(lab)).step > 0


def test_a_run_that_runs_short_once_finishes_with_smaller_passes(lab, monkeypatch):
    real, failed = trainer.supervised_loss, []

    def short_once(model, pack, *how):
        if torch.is_grad_enabled() and not failed:
            failed.append(pack)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(model, pack, *how)

    monkeypatch.setattr(trainer, "supervised_loss", short_once)
    monkeypatch.setitem(packing.TOKENS_PER_PASS, "cpu", 4000)
    run_id = finished(lab)
    assert len(failed) == 1
    assert [event["text"] for event in lab.runs.events(HOST, run_id) if "Memory" in event["text"]] == [
        "Memory ran out: passes of 2000 tokens from now on."
    ]
