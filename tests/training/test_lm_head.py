"""The chunked loss equals the loss at once, gradients too, and applies only where the head is separable."""

from __future__ import annotations

import pytest
import torch
from tiny_lab import NO_DROPOUT, RUN, light, some_rows, tiny, toy  # noqa: F401
from toys import toy_model

from instruct_tune.batching.loss import supervised_loss
from instruct_tune.batching.packing import pack_rows
from instruct_tune.kernels import lm_head
from instruct_tune.kernels.lm_head import chunked_loss, is_separable
from instruct_tune.models import lora

SEPARABLE = {
    "llama": True, "qwen2": True, "mistral": True, "gemma3": True, "gpt2": True, "gpt_neox": True, "opt": True,
    "opt_projected": True, "cohere": False,
}  # fmt: skip


@pytest.mark.parametrize("name", SEPARABLE)
def test_heads_that_can_be_taken_off(name):
    assert is_separable(toy_model(name)) is SEPARABLE[name]


def test_a_capped_head_cannot():
    assert toy("gemma2").separable is False


@pytest.mark.parametrize("positions", [0, 1, 7, 64])
@pytest.mark.parametrize("at_once", [1, 100, 1000, 10**9])
def test_loss_and_gradient_are_cross_entropys(monkeypatch, positions, at_once):
    monkeypatch.setattr(lm_head, "LOGITS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(8, 50).requires_grad_(False)
    targets = torch.randint(50, (positions,), generator=generator)
    results = []
    for loss_of in (
        lambda hidden: torch.nn.functional.cross_entropy(layer(hidden), targets, reduction="sum"),
        lambda hidden: chunked_loss(layer, hidden, targets),
    ):
        # Some logits are hundreds apart: no probability may underflow to zero before its logarithm.
        hidden = (100 * torch.randn(positions, 8, generator=torch.Generator().manual_seed(1))).requires_grad_()
        loss = loss_of(hidden)
        (3 * loss).backward()
        results.append((loss, hidden.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("model_type", ["llama", "opt", "gpt2", "gpt_neox", "qwen2", "gemma3_text"])
def test_an_adapters_gradients_are_the_same_either_way(monkeypatch, model_type):
    loaded = toy(model_type)
    assert loaded.separable
    lora.attach(loaded, RUN, NO_DROPOUT, seed=1)
    with torch.no_grad():
        for name, matrix in loaded.model.named_parameters():
            if "lora_B" in name:
                matrix.normal_(std=0.2, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(lm_head, "LOGITS_AT_ONCE", 259 * 20)
    results = []
    for separable in (False, True):
        loaded.model.zero_grad()
        packs = pack_rows(some_rows(loaded, 6), loaded.packing, 0, 300)
        loss = torch.stack([supervised_loss(loaded.model, pack, separable) for pack in packs]).sum()
        loss.backward()
        results.append((loss, torch.cat([p.grad.flatten() for p in loaded.model.parameters() if p.requires_grad])))
    (loss, gradient), (chunked, its_gradient) = results
    assert chunked.item() == pytest.approx(loss.item(), rel=1e-5)
    assert (its_gradient - gradient).norm() <= 1e-5 * gradient.norm()


def test_no_more_logits_than_allowed_are_alive(monkeypatch):
    monkeypatch.setattr(lm_head, "LOGITS_AT_ONCE", 50 * 10)
    layer, seen = torch.nn.Linear(8, 50).requires_grad_(False), []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    chunked_loss(layer, torch.randn(35, 8, requires_grad=True), torch.zeros(35, dtype=torch.long)).backward()
    assert [tuple(shape) for shape in seen] == [(9, 50), (9, 50), (9, 50), (8, 50)]
