"""The fused RMSNorm gives the outputs and gradients of each architecture's own, and steps aside where it would not."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from architectures import architecture
from toys import toy_model
from transformers import AutoModelForCausalLM

from instruct_tune.kernels.rms_norm import FusedRMSNorm, use_fused_rms_norm

pytestmark = pytest.mark.usefixtures("one_thread")

WITH = ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mistral", "olmo2", "phi3", "smollm3"]
WITHOUT = ["opt", "gpt2", "gpt_neox"]


def models(model_type: str):
    """The same frozen model twice, without and with the fused layers. Its norms have drawn weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = AutoModelForCausalLM.from_config(architecture(model_type), dtype=torch.float32).eval()
        for name, weight in plain.named_parameters():
            if "norm" in name:
                weight.data.normal_(std=0.5)
    fused = copy.deepcopy(plain.requires_grad_(False))
    return plain, fused, use_fused_rms_norm(fused)


@pytest.mark.parametrize("model_type", WITH)
def test_logits_and_gradients_are_those_of_the_models_own_layers(model_type):
    plain, fused, replaced = models(model_type)
    assert replaced == sum("RMSNorm" in type(module).__name__ for module in plain.modules()) > 0
    results = []
    for model in (plain, fused):
        x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
        logits = model(inputs_embeds=x, use_cache=False).logits
        logits.square().sum().backward()
        with torch.no_grad():
            frozen = model(inputs_embeds=x, use_cache=False).logits
        results.append((logits, x.grad, frozen))
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("model_type", WITHOUT)
def test_models_without_rms_norm_are_left_alone(model_type):
    plain, fused, replaced = models(model_type)
    assert replaced == 0
    assert [type(module) for module in fused.modules()] == [type(module) for module in plain.modules()]


def test_the_gradient_is_that_of_finite_differences():
    layer = next(m for m in toy_model("llama").requires_grad_(False).modules() if "RMSNorm" in type(m).__name__)
    layer.weight.normal_()
    holder = torch.nn.Sequential(layer)
    assert use_fused_rms_norm(holder) == 1
    x = torch.randn(3, len(layer.weight), requires_grad=True)
    direction, coefficients = torch.randn_like(x), torch.randn_like(x)
    (layer(x) * coefficients).sum().backward()
    step = 1e-2
    with torch.no_grad():
        above, below = (float((layer(x + sign * step * direction) * coefficients).sum()) for sign in (1, -1))
    assert float((x.grad * direction).sum()) == pytest.approx((above - below) / (2 * step), rel=1e-2, abs=1e-2)


def test_a_weight_that_trains_gets_its_gradient():
    model = toy_model("llama").requires_grad_(False)
    use_fused_rms_norm(model)
    norm = next(module for module in model.modules() if isinstance(module, FusedRMSNorm))
    norm.weight.requires_grad_(True)
    x = torch.randn(2, len(norm.weight), requires_grad=True)
    norm(x).sum().backward()
    normed = x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
    torch.testing.assert_close(norm.weight.grad, normed.sum(0).detach(), rtol=1e-5, atol=1e-5)


def test_other_precisions_use_the_layers_own_forward():
    model = toy_model("llama").requires_grad_(False)
    use_fused_rms_norm(model)
    plain = toy_model("llama").requires_grad_(False)
    ids = torch.arange(5)[None]
    assert torch.equal(model.bfloat16()(ids).logits, plain.bfloat16()(ids).logits)


class OtherRMSNorm(torch.nn.Module):
    """Named like one, but it takes the mean away first."""

    def __init__(self):
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x):
        x = x - x.mean(-1, keepdim=True)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class GatedRMSNorm(OtherRMSNorm):
    """A second input, which the fused layer does not know."""

    def forward(self, x, gate=None):
        return super().forward(x if gate is None else x * gate)


def test_a_norm_with_another_function_is_kept_and_logged_once(caplog):
    model = torch.nn.Sequential(OtherRMSNorm(), OtherRMSNorm(), GatedRMSNorm())
    with caplog.at_level(logging.INFO):
        assert use_fused_rms_norm(model) == 0
    assert [type(layer) for layer in model] == [OtherRMSNorm, OtherRMSNorm, GatedRMSNorm]
    assert [record.getMessage() for record in caplog.records] == [
        "OtherRMSNorm computes another function than RMSNorm: its own forward is kept"
    ]


def test_a_second_call_changes_nothing():
    model = toy_model("llama").requires_grad_(False)
    first = use_fused_rms_norm(model)
    classes = [type(module) for module in model.modules()]
    assert use_fused_rms_norm(model) == first > 0
    assert [type(module) for module in model.modules()] == classes
