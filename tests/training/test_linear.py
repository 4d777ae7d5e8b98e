"""oneDNN linear layers give the results of PyTorch's own, and fall back to them where they must."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_lab import NO_DROPOUT, RUN, light, tiny  # noqa: F401

from instruct_tune.kernels import linear
from instruct_tune.kernels.linear import (
    OneDnnHead,
    OneDnnLinear,
    gradient_of_input,
    heads_are_faster,
    is_faster,
    use_onednn_linear,
)
from instruct_tune.models import lora

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")


@pytest.fixture
def everywhere(monkeypatch):
    """Use oneDNN, as on a processor where it is faster."""
    monkeypatch.setattr(linear, "is_faster", lambda: True)


def pair(bias: bool, kind: type = OneDnnLinear) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    """The same frozen layer twice: PyTorch's own, and through oneDNN."""
    torch.manual_seed(0)
    own = torch.nn.Linear(24, 40, bias=bias).requires_grad_(False)
    other = copy.deepcopy(own)
    other.__class__ = kind
    return own, other


@pytest.mark.parametrize("kind", [OneDnnLinear, OneDnnHead])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 24), (7, 24), (2, 5, 24), (1, 0, 24)])
def test_products_and_gradients_are_pytorchs(bias, shape, kind):
    own, other = pair(bias, kind)
    results = []
    for layer in (own, other):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
        y = layer(x)
        (y * torch.arange(40.0)).sum().backward()
        results.append((y, x.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    # What a head is given in chunks.
    gradient = torch.randn((*shape[:-1], 40))
    torch.testing.assert_close(gradient_of_input(other, gradient), gradient @ own.weight, rtol=1e-5, atol=1e-5)


def test_views_that_are_not_contiguous():
    own, other = pair(bias=True)
    x = torch.randn(3, 48)[:, ::2]
    torch.testing.assert_close(other(x), own(x), rtol=1e-5, atol=1e-5)


def test_weights_that_train_get_their_gradient():
    layer = torch.nn.Linear(4, 3)
    layer.__class__ = OneDnnLinear
    layer(torch.ones(2, 4)).sum().backward()
    assert torch.equal(layer.weight.grad, torch.full((3, 4), 2.0))
    assert torch.equal(layer.bias.grad, torch.full((3,), 2.0))


def test_other_types_are_the_librarys():
    own, other = pair(bias=True)
    x = torch.randn(2, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert other(x).dtype is torch.bfloat16
        assert torch.equal(other(x), own(x))
    assert torch.equal(other.bfloat16()(x.bfloat16()), own.bfloat16()(x.bfloat16()))


@pytest.mark.parametrize(
    ("vendor", "capability", "layers", "heads"),
    [
        ("AuthenticAMD", "AVX512", True, False),
        ("AuthenticAMD", "AVX2", False, True),
        ("AuthenticAMD", "DEFAULT", False, False),
        ("GenuineIntel", "AVX512", False, False),
        ("GenuineIntel", "AVX2", False, False),
        ("", "AVX512", False, False),
    ],
)
def test_where_it_pays(monkeypatch, vendor, capability, layers, heads):
    monkeypatch.setattr(linear, "processor_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert (is_faster.__wrapped__(), heads_are_faster.__wrapped__()) == (layers, heads)


def test_a_model_keeps_its_names_and_says_the_same(everywhere):
    loaded, plain = tiny(), tiny().base
    for module in plain.modules():
        if isinstance(module, torch.nn.Linear):
            module.__class__ = torch.nn.Linear
    use_onednn_linear(loaded.base)
    assert {type(m) for m in loaded.base.modules() if isinstance(m, torch.nn.Linear)} == {OneDnnLinear}
    assert loaded.base.state_dict().keys() == plain.state_dict().keys()
    ids = torch.arange(3, 40)[None]
    expected = plain(input_ids=ids).logits
    lora.attach(loaded, RUN, NO_DROPOUT, seed=1)
    # A fresh adapter gives base's logits, and its matrices' gradients pass through the frozen layers.
    logits = loaded.model(input_ids=ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    logits.sum().backward()
    assert all(p.grad.any() for n, p in loaded.model.named_parameters() if "lora_B" in n)


@pytest.mark.parametrize("heads", [False, True])
def test_where_it_pays_for_heads_alone_or_not_at_all(monkeypatch, heads):
    monkeypatch.setattr(linear, "is_faster", lambda: False)
    monkeypatch.setattr(linear, "heads_are_faster", lambda: heads)
    base = tiny().base
    kinds = {name: type(layer) for name, layer in base.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert kinds.pop("lm_head") is (OneDnnHead if heads else torch.nn.Linear)
    assert set(kinds.values()) == {torch.nn.Linear}


@pytest.mark.parametrize("kind", [OneDnnLinear, OneDnnHead])
def test_a_weight_that_changes_before_the_backward_pass_is_an_error(kind):
    _, layer = pair(bias=False, kind=kind)
    y = layer(torch.randn(3, 24, requires_grad=True))
    layer.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
