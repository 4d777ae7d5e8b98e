"""The faster LoRA dropout: the same distribution, still a pure function of PyTorch's seed."""

from __future__ import annotations

import pytest
import torch
from tiny_lab import DROPOUT, RUN, light, tiny  # noqa: F401

from instruct_tune.kernels.dropout import FastDropout
from instruct_tune.models import lora


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_it_drops_that_share_and_keeps_the_expectation(p):
    torch.manual_seed(0)
    dropped = FastDropout(p)(torch.ones(400, 1001))
    count = dropped.numel()
    # Five standard deviations of a binomial share.
    spread = 5 * (p * (1 - p) / count) ** 0.5
    assert abs((dropped == 0).float().mean().item() - p) < spread + 1e-5
    assert abs(dropped.mean().item() - 1) < spread / (1 - p) + 1e-5
    assert len(dropped.unique()) == 2
    # Neighbouring elements are uncorrelated, along rows and along columns.
    centred = (dropped != 0).float() - (1 - p)
    for one, next_ in ((centred[:, 1:], centred[:, :-1]), (centred[1:], centred[:-1])):
        assert abs((one * next_).mean().item()) < 5 * p * (1 - p) / count**0.5


def test_the_gradient_is_the_masks():
    torch.manual_seed(0)
    x = torch.randn(5, 7, requires_grad=True)
    y = FastDropout(0.5)(x)
    y.sum().backward()
    torch.testing.assert_close(y, x * x.grad)
    assert set(x.grad.unique().tolist()) == {0.0, 2.0}


def test_the_seed_decides_and_each_draw_is_new():
    layer, x = FastDropout(0.5), torch.ones(64)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(second, first)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_all_or_nothing(p):
    assert torch.equal(FastDropout(p)(torch.ones(3)), torch.full((3,), 1 - p))


def test_nothing_is_drawn_where_nothing_is_trained():
    layer, before = FastDropout(0.5).eval(), torch.get_rng_state()
    assert torch.equal(layer(torch.ones(9)), torch.ones(9))
    assert torch.equal(torch.get_rng_state(), before)


def test_adapters_that_train_have_it():
    loaded = tiny()
    lora.attach(loaded, RUN, DROPOUT, seed=1)
    kinds = [type(m) for n, m in loaded.model.named_modules() if n.endswith(f"lora_dropout.{RUN}")]
    assert set(kinds) == {FastDropout}
    assert len(kinds) == 4
