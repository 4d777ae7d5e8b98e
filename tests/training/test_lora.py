"""Attaching, loading and removing adapters leaves the base model unchanged, bit for bit."""

from __future__ import annotations

import contextlib
import itertools
import json

import pytest
import torch
from adapters import adapted, disturb, logits, one_sentence, weights
from tiny_lab import (
    DROPOUT,
    NO_DROPOUT,
    RUN,
    Recorder,
    adapter_weights,
    go,
    light,  # noqa: F401
    quiet,
    same_tensors,
    some_rows,
    tiny,
    tiny_with,
    toy,
)

from instruct_tune.batching.packing_mode import Packing
from instruct_tune.config.catalog import LORA_TARGETS
from instruct_tune.config.run_config import DEFAULT_MODEL, LoraSettings
from instruct_tune.errors import ModelError
from instruct_tune.models import lora
from instruct_tune.models.base_model import load_model
from instruct_tune.models.lora import BASE, CONFIG_FILE

THREE = ["first", "second", "third"]
ATTENTION = LoraSettings(r=4, lora_alpha=8, target_modules=("q_proj", "k_proj"))


# The base model while adapters change


def test_base_is_the_same_before_during_and_after_a_run(tmp_path):
    loaded = tiny()
    before, untouched = logits(loaded, BASE), weights(loaded.base)
    lora.attach(loaded, RUN, DROPOUT, seed=1)
    seen = [logits(loaded, BASE)]
    tuned = []

    def look(step: int) -> None:
        seen.append(logits(loaded, BASE))
        tuned.append(logits(loaded, RUN))

    go(loaded, tmp_path, watcher=Recorder(between=look))
    seen.append(logits(loaded, BASE))
    tuned.append(logits(loaded, RUN))
    assert same_tensors(weights(loaded.base), untouched)
    lora.remove(loaded, RUN)
    seen.append(logits(loaded, BASE))
    assert len(seen) == 9
    assert all(torch.equal(before, now) for now in seen)
    assert same_tensors(weights(loaded.base), untouched)
    # Meanwhile the tuned logits change: first those of base, then different ones each time.
    assert torch.equal(tuned[0], before)
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(tuned))


def test_the_plain_model_is_back_when_the_last_adapter_goes():
    loaded = tiny_with()
    assert loaded.model is not loaded.base
    modules = [name for name, _ in tiny().base.named_modules()]
    lora.remove(loaded, RUN)
    assert loaded.model is loaded.base
    assert [name for name, _ in loaded.base.named_modules()] == modules
    lora.remove(loaded, RUN)
    assert lora.names(loaded) == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("model_type", ["llama", "opt", "gpt2"])
def test_adapters_leave_in_any_order(model_type, order):
    loaded = toy(model_type)
    before, untouched = logits(loaded, BASE), weights(loaded.base)
    alone = {}
    for seed, name in enumerate(THREE):
        lora.attach(loaded, name, DROPOUT, seed)
        disturb(loaded, name, seed)
        alone[name] = logits(loaded, name)
        assert not torch.equal(alone[name], before)
    assert lora.names(loaded) == THREE
    for gone in (THREE[place] for place in order):
        # Removing one changes neither the others' logits nor base's.
        assert all(torch.equal(logits(loaded, name), alone[name]) for name in lora.names(loaded))
        assert torch.equal(logits(loaded, BASE), before)
        lora.remove(loaded, gone)
    assert lora.names(loaded) == []
    assert torch.equal(logits(loaded, BASE), before)
    assert same_tensors(weights(loaded.base), untouched)


def test_a_batch_may_mix_base_and_adapters():
    loaded = tiny_with()
    lora.attach(loaded, "other", ATTENTION, seed=2)
    for name in (RUN, "other"):
        disturb(loaded, name)
    adapter_names = [RUN, BASE, "other", RUN]
    ids = torch.randint(3, 250, (1, 40), generator=torch.Generator().manual_seed(5)).expand(4, -1)
    with lora.answering_as(loaded, adapter_names) as routing, torch.no_grad():
        mixed = loaded.model(input_ids=ids, **routing).logits
    for row, adapter_name in zip(mixed, adapter_names, strict=True):
        torch.testing.assert_close(row, logits(loaded, adapter_name)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [[BASE], [RUN], [BASE, RUN]])
@pytest.mark.parametrize("training", [True, False])
def test_speaking_leaves_mode_and_adapter_as_they_were(rows, training):
    loaded = tiny_with()
    disturb(loaded, RUN)
    loaded.model.train(training)
    before = [p.requires_grad for p in loaded.model.parameters()]
    with contextlib.suppress(ZeroDivisionError), lora.answering_as(loaded, rows):
        assert not loaded.model.training
        raise ZeroDivisionError
    assert loaded.model.training is training
    assert [p.requires_grad for p in loaded.model.parameters()] == before
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert not torch.equal(loaded.model.eval()(input_ids=ids).logits, tiny().model(input_ids=ids).logits)


# Attaching


def test_the_seed_draws_the_matrices():
    first, same, other = (adapter_weights(tiny_with(seed=seed)) for seed in (1, 1, 2))
    assert same_tensors(first, same)
    assert not same_tensors(first, other)


def test_a_fresh_adapter_is_zero_until_it_has_learnt(tmp_path):
    loaded = tiny_with()
    # Names with a common prefix are different names.
    for name in ("run-2", "ru"):
        lora.attach(loaded, name, DROPOUT, seed=1)
    loaded.model.set_adapter(RUN)
    assert lora.is_zero(loaded, RUN)
    go(loaded, tmp_path)
    assert [lora.is_zero(loaded, name) for name in (RUN, "run-2", "ru")] == [False, True, True]


def test_only_the_newest_adapter_trains():
    loaded = tiny_with()
    # PEFT enables an adapter's gradients after base has answered.
    logits(loaded, BASE)
    lora.attach(loaded, "second", DROPOUT, seed=1)
    logits(loaded, BASE)
    trains = [name for name, p in loaded.model.named_parameters() if p.requires_grad]
    assert trains
    assert all("lora_" in name and ".second." in name for name in trains)


def test_parameter_counts():
    loaded = tiny()
    plain = sum(p.numel() for p in loaded.base.parameters())
    lora.attach(loaded, RUN, LoraSettings(r=4), seed=1)
    # Two layers; q is 64 to 64 and v 64 to 32 (two key-value heads of four).
    expected = 2 * 4 * ((64 + 64) + (64 + 32))
    assert lora.parameter_counts(loaded) == (expected, plain + expected)


@pytest.mark.parametrize("model_type", LORA_TARGETS)
def test_auto_finds_its_modules_in_every_layer(model_type):
    loaded = toy(model_type)
    before = logits(loaded, BASE)
    lora.attach(loaded, "auto", DROPOUT, seed=1)
    paths = adapted(loaded.base, "auto")
    assert len(paths) == 2 * len(LORA_TARGETS[model_type])
    assert {path.rpartition(".")[2] for path in paths} == set(LORA_TARGETS[model_type])
    disturb(loaded, "auto")
    assert not torch.equal(logits(loaded, "auto"), before)
    assert torch.equal(logits(loaded, BASE), before)


@pytest.mark.parametrize("model_type", LORA_TARGETS)
def test_all_linear_is_every_linear_layer_but_the_head(model_type):
    loaded = toy(model_type)
    kinds = ("Linear", "Conv1D")
    linear = {path for path, module in loaded.base.named_modules() if type(module).__name__ in kinds}
    head = {path for path, module in loaded.base.named_modules() if module is loaded.base.get_output_embeddings()}
    everywhere = LoraSettings(r=4, target_modules="all-linear")
    lora.attach(loaded, "first", everywhere, seed=1)
    assert set(adapted(loaded.base, "first")) == linear - head
    # Again next to an existing adapter, whose own small matrices are linear layers too.
    lora.attach(loaded, "second", everywhere, seed=1)
    assert set(adapted(loaded.base, "second")) == linear - head
    lora.attach(loaded, "third", DROPOUT, seed=1)
    assert {path.rpartition(".")[2] for path in adapted(loaded.base, "third")} == set(LORA_TARGETS[model_type])


def test_chosen_modules():
    loaded = tiny_with(ATTENTION)
    assert {path.rpartition(".")[2] for path in adapted(loaded.base, RUN)} == {"q_proj", "k_proj"}
    lora.attach(loaded, "other", LoraSettings(target_modules="o_proj"), seed=1)
    assert {path.rpartition(".")[2] for path in adapted(loaded.base, "other")} == {"o_proj"}


@pytest.mark.parametrize("beside_another", [False, True])
@pytest.mark.parametrize("targets", [("q_proj", "nonsense"), ("lm_head",), "nonsense", ("embed_tokens",), ("q_pro",)])
def test_unknown_modules_are_named_with_the_known_ones(targets, beside_another):
    loaded = tiny_with() if beside_another else tiny()
    present = lora.names(loaded)
    with pytest.raises(ModelError) as caught:
        lora.attach(loaded, "wrong", LoraSettings(target_modules=targets), seed=1)
    message = one_sentence(caught.value)
    wrong = targets if isinstance(targets, str) else targets[-1]
    assert message.startswith(f"The model has no module named {wrong} that LoRA can adapt")
    assert "it has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj." in message
    assert lora.names(loaded) == present


def test_auto_asks_where_the_architecture_is_unknown():
    loaded = toy("bloom", Packing.PADDED)
    with pytest.raises(ModelError) as caught:
        lora.attach(loaded, RUN, DROPOUT, seed=1)
    message = one_sentence(caught.value)
    assert message.startswith("The lab does not know which modules to adapt in a bloom model")
    assert message.endswith("all-linear or to some of dense, dense_4h_to_h, dense_h_to_4h, query_key_value.")


# The real model


@pytest.mark.slow
def test_the_real_model_stays_the_same(tmp_path):
    loaded = load_model(DEFAULT_MODEL, quiet)
    before, untouched = logits(loaded, BASE), weights(loaded.base)
    lora.attach(loaded, RUN, NO_DROPOUT, seed=1)
    assert torch.equal(logits(loaded, BASE), before)
    assert torch.equal(logits(loaded, RUN), before)
    disturb(loaded, RUN)
    assert torch.equal(logits(loaded, BASE), before)
    tuned = logits(loaded, RUN)
    assert not torch.equal(tuned, before)
    lora.save(loaded, RUN, tmp_path)
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["base_model_name_or_path"] == DEFAULT_MODEL
    lora.remove(loaded, RUN)
    assert torch.equal(logits(loaded, BASE), before)
    assert same_tensors(weights(loaded.base), untouched)
    lora.load(loaded, "again", tmp_path)
    assert torch.equal(logits(loaded, "again"), tuned)
    assert some_rows(loaded, 1)[0].supervised
