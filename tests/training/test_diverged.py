"""A run that diverges raises at the step where it went wrong, and leaves the model usable for the next run."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from tiny_lab import (
    RUN,
    SIX_STEPS,
    Recorder,
    go,
    light,  # noqa: F401
    tiny,
    tiny_with,
)

from instruct_tune.errors import DivergedError
from instruct_tune.models import lora
from instruct_tune.training import trainer
from instruct_tune.training.checkpoints import checkpoints
from instruct_tune.training.types import TrainingResult


def test_a_rate_that_is_too_high_is_reported(tmp_path):
    loaded = tiny_with()
    watcher = Recorder()
    settings = replace(SIX_STEPS, learning_rate=3e37, save_strategy="steps", save_steps=1)
    with pytest.raises(DivergedError) as caught:
        go(loaded, tmp_path, settings, watcher)
    # Whether the numbers are too large at the second or the third step is up to the release of torch.
    match = re.fullmatch(
        r"The loss is not a finite number at step ([23]): "
        r"lower train\.learning_rate \(now 3e\+37\) or set train\.max_grad_norm to 1\.",
        str(caught.value),
    )
    before = range(1, int(match[1]))
    # No number that is not finite is reported or saved, and the model is usable for the next run.
    assert list(watcher.losses) == [*before]
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in before]
    lora.remove(loaded, RUN)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(loaded.model(input_ids=ids).logits, tiny().model(input_ids=ids).logits)


def test_poisoned_weights_are_reported(tmp_path):
    loaded = tiny_with()
    with torch.no_grad():
        next(p for name, p in loaded.model.named_parameters() if "lora_A" in name)[0, 0] = math.nan
    watcher = Recorder()
    with pytest.raises(DivergedError, match="not a finite number at step 1:"):
        go(loaded, tmp_path, replace(SIX_STEPS, probes=0), watcher)
    assert (watcher.losses, checkpoints(tmp_path)) == ({}, [])


def test_an_infinite_gradient_is_reported_though_the_loss_is_fine(tmp_path):
    loaded = tiny_with()
    next(p for p in loaded.model.parameters() if p.requires_grad).register_hook(lambda g: g + math.inf)
    with pytest.raises(DivergedError, match="not a finite number at step 1:"):
        go(loaded, tmp_path)


def test_an_infinite_loss_is_reported_though_its_gradient_is_fine(tmp_path, monkeypatch):
    supervised_loss = trainer.supervised_loss
    monkeypatch.setattr(trainer, "supervised_loss", lambda *args: supervised_loss(*args) + math.inf)
    with pytest.raises(DivergedError, match="not a finite number at step 1:"):
        go(tiny_with(), tmp_path, replace(SIX_STEPS, probes=0))


def test_an_adapter_that_never_moved_is_reported(tmp_path):
    """The warm-up starts at a rate of zero, and this run ends there."""
    settings = replace(SIX_STEPS, max_steps=1, warmup_steps=10)
    watcher = Recorder()
    with pytest.raises(DivergedError, match="The adapter is still zero after training"):
        go(tiny_with(), tmp_path, settings, watcher)
    assert watcher.of("learning_rate") == {1: 0.0}
    _, result = go(tiny_with(), tmp_path, replace(settings, max_steps=2))
    assert result == TrainingResult(2, 2, stopped=False)
