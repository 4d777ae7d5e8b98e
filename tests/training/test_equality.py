"""Every layout of a step's rows gives the losses and gradients of padded batches with the library's own forward.

The random weights are large, so that a row that sees another one, or an extra token in the loss, shows. Several
optimizer steps run, so that state left by one step shows in the next."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_lab import NO_DROPOUT, RUN, SIX_STEPS, go, gradients_of, light, plain_loop, some_data, toy  # noqa: F401

from instruct_tune.batching import packing as batching
from instruct_tune.batching.packing_mode import Packing
from instruct_tune.kernels import lm_head
from instruct_tune.models import lora

TOLERANCE = 1e-5
LOUD = {"initializer_range": 0.2, "init_std": 0.2}
VOCABULARY = 1000
"""Larger than the tokenizer's, as models round it up; with ``CHUNK`` a step's head takes several chunks."""
CHUNK = 40 * VOCABULARY
STEPS = replace(SIX_STEPS, probes=0, eval_strategy="no", save_strategy="no", max_grad_norm=0.3, learning_rate=2e-3)
FAMILIES = ("llama", "opt", "gpt2", "gpt_neox", "qwen2", "gemma3_text")
LAYOUTS = {
    # (packing, or None for the probe's result; rows a micro-batch; micro-batches a step; tokens a pass)
    "packed": (None, 4, 1, 100_000),
    "padded, in several passes": (Packing.PADDED, 4, 1, 300),
    "accumulated": (None, 2, 2, 300),
}


def lent(model_type: str, packing: Packing | None = None):
    """A toy model with large weights and a fresh adapter."""
    loaded = toy(model_type, packing, vocab_size=VOCABULARY, **LOUD)
    lora.attach(loaded, RUN, NO_DROPOUT, seed=1)
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_layout_gives_the_losses_and_gradients_of_padded_batches(tmp_path, monkeypatch, model_type):
    monkeypatch.setattr(lm_head, "LOGITS_AT_ONCE", CHUNK)
    chunks: list[int] = []
    reference = lent(model_type)
    rows = some_data(reference).train
    in_one = replace(STEPS, per_device_train_batch_size=4, gradient_accumulation_steps=1)
    expected = list(plain_loop(reference, rows, in_one))
    assert len(expected) == 6
    assert expected[0][0] != pytest.approx(expected[-1][0], rel=1e-3)  # the steps moved something
    for layout, (packing, batch, accumulation, tokens) in LAYOUTS.items():
        monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", tokens)
        loaded = lent(model_type, packing)
        assert loaded.separable
        loaded.base.get_output_embeddings().register_forward_hook(lambda *call: chunks.append(call[2].shape[0]))
        settings = replace(STEPS, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
        with gradients_of(loaded) as gradients:
            watcher, _ = go(loaded, tmp_path / layout, settings)
        for step, (loss, gradient) in enumerate(expected, start=1):
            assert watcher.losses[step] == pytest.approx(loss, rel=TOLERANCE), (layout, step)
            theirs = torch.cat([each.flatten() for each in gradient.values()])
            ours = torch.cat([gradients[step - 1][name].flatten() for name in gradient])
            assert (ours - theirs).norm() <= TOLERANCE * theirs.norm(), (layout, step)
    assert max(chunks) <= 40
    assert len(chunks) > 2 * 6 * len(LAYOUTS)
