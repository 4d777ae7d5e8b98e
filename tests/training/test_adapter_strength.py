"""An adapter at part of its strength leaves the base model, other adapters and training as they were."""

from __future__ import annotations

import contextlib

import torch
from adapters import disturb, logits
from tiny_lab import (
    DROPOUT,
    RUN,
    Recorder,
    adapter_weights,
    go,
    light,  # noqa: F401
    same_tensors,
    tiny,
    tiny_with,
)

from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.models.lora import BASE

TWO = ("first", "second")


def two_adapters() -> LoadedModel:
    loaded = tiny()
    for seed, name in enumerate(TWO):
        lora.attach(loaded, name, DROPOUT, seed)
        disturb(loaded, name, seed)
    return loaded


def test_at_strength_0_it_is_base_and_at_1_the_adapter_to_the_last_bit():
    loaded = two_adapters()
    base, first = logits(loaded, BASE), logits(loaded, "first")
    assert not torch.equal(base, first)
    with lora.at_strength(loaded, "first", 0):
        assert torch.equal(logits(loaded, "first"), base)
    with lora.at_strength(loaded, "first", 1):
        assert torch.equal(logits(loaded, "first"), first)


def test_half_the_strength_is_that_of_half_the_matrices():
    loaded, halved = two_adapters(), two_adapters()
    with torch.no_grad():
        for path, matrix in halved.model.named_parameters():
            if "lora_B.first" in path:
                matrix.mul_(0.5)
    with lora.at_strength(loaded, "first", 0.5):
        assert torch.equal(logits(loaded, "first"), logits(halved, "first"))


def test_nobody_else_is_touched_and_all_is_as_before_even_after_a_fault():
    loaded = two_adapters()
    before = {name: logits(loaded, name) for name in (BASE, *TWO)}
    with contextlib.suppress(ZeroDivisionError), lora.at_strength(loaded, "first", 0.3):
        assert torch.equal(logits(loaded, "second"), before["second"])
        assert torch.equal(logits(loaded, BASE), before[BASE])
        _ = 1 / 0
    assert all(torch.equal(logits(loaded, name), was) for name, was in before.items())


def test_a_training_does_not_notice_that_its_adapter_is_turned_down(tmp_path):
    alone, disturbed = tiny_with(DROPOUT), tiny_with(DROPOUT)
    watched, _ = go(alone, tmp_path / "alone")

    def turn_down(step):
        with lora.at_strength(disturbed, RUN, 0.3):
            logits(disturbed, RUN)

    watcher = Recorder(between=turn_down)
    go(disturbed, tmp_path / "disturbed", watcher=watcher)
    assert watcher.losses == watched.losses
    assert same_tensors(adapter_weights(disturbed), adapter_weights(alone))
