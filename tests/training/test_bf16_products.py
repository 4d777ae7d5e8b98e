"""Frozen layers that multiply in bfloat16 in training steps: near float32 there, float32 everywhere else.

On a processor without units for it oneDNN multiplies in float32, and each test holds as well."""

from __future__ import annotations

import copy
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
    gradients_of,
    light,  # noqa: F401
    plain_loop,
    same_tensors,
    some_data,
    some_rows,
    tiny_with,
    toy,
)

from instruct_tune.batching import packing as batching
from instruct_tune.batching.packing_mode import Packing
from instruct_tune.kernels import bf16_products
from instruct_tune.kernels.bf16_products import Bf16Linear, in_bf16, suitable_layers
from instruct_tune.kernels.linear import OneDnnHead, OneDnnLinear, gradient_of_input
from instruct_tune.models import lora
from instruct_tune.training import activation_checkpointing, precision
from instruct_tune.training.checkpoints import checkpoints

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or bf16_products._switch() is None,
    reason="PyTorch without oneDNN, or older than its switch",
)

ROUNDING = 0.02
"""bfloat16 keeps 8 bits: one factor is off by at most 0.4%, and a few layers add up."""
STEPS = replace(SIX_STEPS, probes=0, eval_strategy="no", save_strategy="no")
FAMILIES = ("llama", "opt", "gpt2", "gpt_neox", "qwen2", "gemma3_text")


@pytest.fixture
def faster(monkeypatch):
    """As on a processor with the units, and for layers of any size."""
    monkeypatch.setattr(bf16_products, "FEWEST_WEIGHTS", 0)
    monkeypatch.setattr(precision, "is_faster", lambda: True)
    monkeypatch.setattr(precision, "speedup", lambda: 3.0)


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The norm of the difference, relative to ``theirs``."""
    return ((ours - theirs).norm() / theirs.norm()).item()


def kinds(loaded) -> list[type]:
    return [type(module) for module in loaded.base.modules()]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [torch.nn.Linear, OneDnnLinear, OneDnnHead])
def test_a_product_and_its_gradient_are_near_float32(kind, bias):
    torch.manual_seed(0)
    own = torch.nn.Linear(256, 300, bias=bias).requires_grad_(False)
    layer = copy.deepcopy(own)
    layer.__class__ = kind
    x, gradient = torch.randn(3, 40, 256, requires_grad=True), torch.randn(3, 40, 300)
    expected = own(x)
    (by_x,) = torch.autograd.grad(expected, x, gradient)
    with in_bf16([layer]):
        y = layer(x)
        (ours,) = torch.autograd.grad(y, x, gradient)
        in_chunks = gradient_of_input(layer, gradient)
        with torch.no_grad():
            assert torch.equal(layer(x), y)
    assert y.dtype is ours.dtype is torch.float32
    for result, exact in ((y, expected), (ours, by_x), (in_chunks, by_x)):
        assert distance(result, exact) < ROUNDING
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert not torch.equal(y, expected)
    assert type(layer) is kind
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_the_switch_and_the_layers_are_as_before_after_an_error():
    layer, before = torch.nn.Linear(8, 8).requires_grad_(False), torch.backends.mkldnn.matmul.fp32_precision
    assert before == "none"
    with in_bf16([layer]):
        assert type(layer) is Bf16Linear
    with pytest.raises(RuntimeError, match="primitive"), in_bf16([layer]):
        layer(torch.ones(2, 7))
    assert type(layer) is torch.nn.Linear
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_which_layers_are_suitable(monkeypatch):
    monkeypatch.setattr(bf16_products, "FEWEST_WEIGHTS", 100)

    class Other(torch.nn.Linear):
        pass

    def frozen(layer):
        return layer.requires_grad_(False)

    right = frozen(torch.nn.Linear(10, 10))
    trained, biased, other = torch.nn.Linear(10, 10), frozen(torch.nn.Linear(10, 10)), frozen(Other(10, 10))
    biased.bias.requires_grad_(True)
    small, half = frozen(torch.nn.Linear(9, 11)), frozen(torch.nn.Linear(10, 10).bfloat16())
    model = torch.nn.ModuleList([trained, small, right, biased, half, other, torch.nn.Embedding(20, 20)])
    assert suitable_layers(model) == [right]


@pytest.mark.parametrize(
    ("supported", "seconds", "faster"),
    [(True, (3.0, 1.0), True), (True, (2.0, 1.0), False), (True, (1.0, 1.0), False), (False, (3.0, 1.0), False)],
)
def test_where_it_pays(monkeypatch, supported, seconds, faster):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    float32, bfloat16 = seconds
    timed = {torch.nn.functional.linear: float32, bf16_products._multiply: bfloat16}
    monkeypatch.setattr(bf16_products, "_seconds", lambda product, *factors: timed[product])
    monkeypatch.setattr(bf16_products, "speedup", bf16_products.speedup.__wrapped__)
    assert bf16_products.is_faster() is faster


def test_an_older_torch_has_no_switch_and_is_not_timed(monkeypatch):
    monkeypatch.setattr(bf16_products, "_switch", lambda: None)
    monkeypatch.setattr(bf16_products, "_seconds", lambda *given: pytest.fail("timed"))
    assert bf16_products.speedup.__wrapped__() == 0


@pytest.mark.parametrize("model_type", FAMILIES)
def test_packed_and_padded_steps_are_near_those_in_float32(tmp_path, monkeypatch, faster, model_type):
    settings = replace(STEPS, per_device_train_batch_size=4, gradient_accumulation_steps=1)
    reference = toy(model_type)
    lora.attach(reference, RUN, NO_DROPOUT, seed=1)
    (loss, gradient), *_ = plain_loop(reference, some_data(reference).train, settings)
    theirs = torch.cat([each.flatten() for each in gradient.values()])
    for packing in (None, Packing.PADDED):
        monkeypatch.setitem(batching.TOKENS_PER_PASS, "cpu", 300)
        loaded = toy(model_type, packing)
        loaded.base.requires_grad_(False)
        lora.attach(loaded, RUN, NO_DROPOUT, seed=1)
        with gradients_of(loaded) as gradients:
            watcher, _ = go(loaded, tmp_path / str(packing), settings)
        assert watcher.in_bf16 == [True], watcher.messages
        assert watcher.losses[1] == pytest.approx(loss, abs=precision.SAME_LOSS)
        ours = torch.cat([gradients[0][name].flatten() for name in gradient])
        assert distance(ours, theirs) < ROUNDING


def test_the_model_is_untouched_and_held_out_rows_are_measured_in_float32(tmp_path, faster):
    settings = replace(SIX_STEPS, probes=1, eval_strategy="no", save_strategy="no")
    loaded = tiny_with()
    before, weights = kinds(loaded), copy.deepcopy(loaded.base.state_dict())
    ids = torch.arange(3, 40)[None]
    with torch.no_grad(), loaded.model.disable_adapter():
        logits = loaded.model(input_ids=ids).logits
    watcher, _ = go(loaded, tmp_path / "in bfloat16", settings)
    assert watcher.in_bf16 == [True]
    assert kinds(loaded) == before
    frozen = {name: tensor for name, tensor in loaded.base.state_dict().items() if "lora_" not in name}
    assert same_tensors(frozen, {name: tensor for name, tensor in weights.items() if "lora_" not in name})
    with torch.no_grad(), loaded.model.disable_adapter():
        assert torch.equal(loaded.model(input_ids=ids).logits, logits)
    exact, _ = go(again(loaded), tmp_path / "in float32", replace(settings, bf16=False))
    assert exact.in_bf16 == [False]
    # At step 0 both have the same adapter.
    assert watcher.of("probe_loss", "probe")[0] == exact.of("probe_loss", "probe")[0]
    for step, loss in exact.losses.items():
        assert watcher.losses[step] == pytest.approx(loss, rel=0.01)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert watcher.losses != exact.losses


@pytest.mark.parametrize("step", [1, 2, 4])
def test_stopped_and_resumed_is_uninterrupted(tmp_path, monkeypatch, faster, step):
    loaded = tiny_with()
    whole, _ = go(loaded, tmp_path / "whole", STEPS)
    expected = adapter_weights(loaded)
    first, _ = go(again(loaded), tmp_path, STEPS, Recorder(stop_after=step))
    # A busy machine's clock does not decide anew.
    monkeypatch.setattr(precision, "is_faster", lambda: False)
    monkeypatch.setattr(precision, "speedup", lambda: 1.5)
    second, _ = go(again(loaded), tmp_path, STEPS, resume_from=checkpoints(tmp_path)[-1])
    assert second.in_bf16 == [True]
    assert first.losses | second.losses == whole.losses
    assert same_tensors(adapter_weights(loaded), expected)


def test_recomputed_layers_have_the_same_numbers(tmp_path, faster):
    loaded = tiny_with()
    whole, _ = go(loaded, tmp_path / "kept", STEPS)
    watcher = Recorder(between=lambda step: step or activation_checkpointing.switch_on(loaded.base))
    recomputed, _ = go(again(loaded), tmp_path / "recomputed", STEPS, watcher)
    assert recomputed.losses == whole.losses


def test_a_run_resumed_elsewhere_goes_on_in_float32_and_says_so_once(tmp_path, monkeypatch, faster):
    loaded = tiny_with()
    go(loaded, tmp_path, STEPS, Recorder(stop_after=2))
    monkeypatch.setattr(precision, "speedup", lambda: 0.9)
    elsewhere, _ = go(again(loaded), tmp_path, STEPS, Recorder(stop_after=4), resume_from=checkpoints(tmp_path)[-1])
    assert elsewhere.in_bf16 == [False]
    assert any("float32 from now on" in message for message in elsewhere.messages)
    # "From now on" holds back at home, too.
    monkeypatch.setattr(precision, "speedup", lambda: 3.0)
    back, _ = go(again(loaded), tmp_path, STEPS, resume_from=checkpoints(tmp_path)[-1])
    assert back.in_bf16 == [False]
    assert not any("float32" in message for message in back.messages)


def test_a_run_begun_in_float32_goes_on_so(tmp_path, monkeypatch):
    loaded = tiny_with()
    monkeypatch.setattr(precision, "is_faster", lambda: False)
    go(loaded, tmp_path, STEPS, Recorder(stop_after=2))
    monkeypatch.setattr(precision, "is_faster", lambda: True)
    monkeypatch.setattr(precision, "speedup", lambda: 3.0)
    monkeypatch.setattr(bf16_products, "FEWEST_WEIGHTS", 0)
    watcher, _ = go(again(loaded), tmp_path, STEPS, resume_from=checkpoints(tmp_path)[-1])
    assert watcher.in_bf16 == [False]
    assert not any("bfloat16" in message or "float32" in message for message in watcher.messages)


@pytest.mark.parametrize("most", [-1.0, float("nan")])
def test_a_model_whose_loss_changes_stays_in_float32_and_the_log_says_so(tmp_path, monkeypatch, faster, most):
    monkeypatch.setattr(precision, "SAME_LOSS", most)
    loaded = tiny_with()
    watcher, _ = go(loaded, tmp_path / "auto", STEPS)
    assert watcher.in_bf16 == [False]
    assert any("the loss would change by" in message for message in watcher.messages)
    exact, _ = go(again(loaded), tmp_path / "off", replace(STEPS, bf16=False))
    assert watcher.losses == exact.losses


def test_a_loss_that_is_no_number_is_not_blamed_on_bfloat16(faster):
    loaded = tiny_with()
    chosen = precision.bf16_layers(loaded, STEPS, some_rows(loaded, 4), lambda rows: float("nan"), pytest.fail)
    assert chosen == []


@pytest.mark.parametrize("settings", [{"bf16": False}, {"bf16": True}, {"fp16": True}])
def test_only_auto_looks(monkeypatch, settings):
    monkeypatch.setattr(precision, "is_faster", lambda: pytest.fail("timed"))
    loaded = tiny_with()
    chosen = precision.bf16_layers(loaded, replace(STEPS, **settings), some_rows(loaded, 4), pytest.fail, pytest.fail)
    assert chosen == []


def test_the_compared_rows_are_the_shortest(monkeypatch):
    loaded = tiny_with()
    rows = some_rows(loaded, 10)
    lengths = sorted(len(row.input_ids) for row in rows)
    monkeypatch.setattr(precision, "COMPARED_TOKENS", sum(lengths[:3]))
    assert [len(row.input_ids) for row in precision.shortest(rows)] == lengths[:3]
    monkeypatch.setattr(precision, "COMPARED_TOKENS", 1)
    assert [len(row.input_ids) for row in precision.shortest(rows)] == lengths[:1]
