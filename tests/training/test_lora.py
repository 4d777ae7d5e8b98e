"""Attaching, loading and removing adapters leaves the base model unchanged, bit for bit."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
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
from instruct_tune.models.base_model import LoadedModel, load_model
from instruct_tune.models.lora import BASE, CONFIG_FILE, WEIGHTS_FILE

THREE = ["first", "second", "third"]
ATTENTION = LoraSettings(r=4, lora_alpha=8, target_modules=("q_proj", "k_proj"))


def logits(loaded: LoadedModel, adapter_name: str, vocabulary: int = 250) -> torch.Tensor:
    """The logits of ``adapter_name`` on the same forty tokens."""
    ids = torch.randint(3, vocabulary, (1, 40), generator=torch.Generator().manual_seed(5))
    with lora.answering_as(loaded, [adapter_name]) as routing, torch.no_grad():
        return loaded.model(input_ids=ids, **routing).logits


def weights(base: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the base model's own weights, by their plain names."""
    state = {name.replace(".base_layer", ""): value for name, value in base.state_dict().items()}
    return {name: value.clone() for name, value in state.items() if "lora_" not in name}


def disturb(loaded: LoadedModel, name: str, seed: int = 9) -> None:
    """Give an adapter random B matrices, as if it were trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, matrix in loaded.model.named_parameters():
            if "lora_B" in path and f".{name}." in path:
                matrix.copy_(torch.randn(matrix.shape, generator=generator))


def adapted(base: torch.nn.Module, name: str) -> list[str]:
    """The paths of the modules that have the adapter ``name``."""
    return [path for path, module in base.named_modules() if hasattr(module, "lora_A") and name in module.lora_A]


def one_sentence(error: BaseException) -> str:
    """The message, after a check that it is one readable sentence."""
    message = str(error)
    assert message.endswith((".", ")"))
    assert "\n" not in message
    assert "Traceback" not in message
    assert len(message) < 400
    return message


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


# Files


@pytest.fixture
def saved(tmp_path) -> Path:
    """A folder with a tiny model's adapter whose logits differ from base's."""
    loaded = tiny_with()
    disturb(loaded, RUN)
    lora.save(loaded, RUN, tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("targets", ["auto", "all-linear"])
@pytest.mark.parametrize("model_type", ["llama", "opt", "gpt2", "gpt_neox"])
def test_what_is_saved_is_what_peft_loads(tmp_path, model_type, targets):
    loaded = toy(model_type)
    lora.attach(loaded, RUN, LoraSettings(r=4, lora_alpha=12, target_modules=targets), seed=1)
    disturb(loaded, RUN)
    expected = logits(loaded, RUN)
    lora.save(loaded, RUN, tmp_path)
    assert not torch.equal(expected, logits(loaded, BASE))
    # Without the lab's code: PEFT's own loading, on a separate base.
    theirs = PeftModel.from_pretrained(toy(model_type).base, tmp_path).eval()
    ids = torch.randint(3, 250, (1, 40), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert torch.equal(theirs(input_ids=ids).logits, expected)
    ours = toy(model_type)
    lora.load(ours, "again", tmp_path)
    assert torch.equal(logits(ours, "again"), expected)
    assert torch.equal(logits(ours, BASE), logits(loaded, BASE))


def test_a_trained_adapter_survives_its_file(tmp_path):
    loaded = tiny_with()
    go(loaded, tmp_path / "run")
    lora.save(loaded, RUN, tmp_path / "adapter")
    fresh = tiny()
    lora.load(fresh, RUN, tmp_path / "adapter")
    assert torch.equal(logits(fresh, RUN), logits(loaded, RUN))
    assert same_tensors(adapter_weights(fresh), adapter_weights(loaded))


def test_only_safetensors_and_the_hubs_name(tmp_path, saved):
    assert sorted(path.name for path in saved.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    text = (saved / CONFIG_FILE).read_text()
    config = json.loads(text)
    loaded = tiny()
    assert config["base_model_name_or_path"] == loaded.weights.model == "tiny-random"
    assert str(loaded.weights.path) not in text
    assert str(loaded.base.config._name_or_path) not in text
    assert config["inference_mode"] is True
    assert config["target_modules"] == ["q_proj", "v_proj"] or sorted(config["target_modules"]) == ["q_proj", "v_proj"]
    assert all("lora_" in name for name in load_file(saved / WEIGHTS_FILE))


def test_saving_does_not_change_what_is_in_memory(tmp_path):
    loaded = tiny_with()
    disturb(loaded, RUN)
    before = logits(loaded, RUN)
    lora.save(loaded, RUN, tmp_path)
    assert loaded.model.peft_config[RUN].inference_mode is False
    assert torch.equal(logits(loaded, RUN), before)


def test_saving_asks_the_hub_nothing(tmp_path, monkeypatch):
    loaded = tiny_with()
    # As if the base were no local folder: PEFT's own "auto" would look its configuration up on the Hub.
    loaded.model.peft_config[RUN].base_model_name_or_path = "nobody/nothing"
    calls = []
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *args, **kw: calls.append(args))
    lora.save(loaded, RUN, tmp_path)
    assert calls == []


def test_loading_twice_is_loading_once(saved):
    loaded = tiny()
    lora.load(loaded, "saved", saved)
    expected = logits(loaded, "saved")
    shutil.rmtree(saved)
    lora.load(loaded, "saved", saved)
    assert lora.names(loaded) == ["saved"]
    assert torch.equal(logits(loaded, "saved"), expected)


def test_loading_leaves_random_numbers_alone(saved):
    """Loading an adapter while another trains must not change that one's dropout."""
    for loaded in (tiny(), tiny_with()):
        before = torch.get_rng_state()
        lora.load(loaded, "saved", saved)
        assert torch.equal(torch.get_rng_state(), before)


def change_config(**values):
    def change(folder: Path) -> None:
        path = folder / CONFIG_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def change_tensors(edit):
    def change(folder: Path) -> None:
        save_file(edit(load_file(folder / WEIGHTS_FILE)), folder / WEIGHTS_FILE, {"format": "pt"})

    return change


def cut_weights(keep: int):
    return lambda folder: (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:keep])


def more_layers(state):
    return state | {name.replace(".layers.1.", ".layers.7."): value.clone() for name, value in state.items()}


def one_layer(state):
    return {name: value for name, value in state.items() if ".layers.1." not in name}


GONE = {
    "no folder": shutil.rmtree,
    "no weights": lambda folder: (folder / WEIGHTS_FILE).unlink(),
    "no configuration": lambda folder: (folder / CONFIG_FILE).unlink(),
}
DAMAGED = {
    "cut header": cut_weights(100),
    "cut tensors": cut_weights(-64),
    "empty weights": cut_weights(0),
    "no safetensors": lambda folder: (folder / WEIGHTS_FILE).write_text("<html>not found</html>"),
    "another rank": change_config(r=8),
    "more layers": change_tensors(more_layers),
    "foreign names": change_tensors(lambda state: {"x": torch.zeros(1)}),
    "fewer layers": change_tensors(one_layer),
    "no tensors": change_tensors(lambda state: {}),
}
BAD_CONFIG = {
    "cut configuration": lambda folder: (folder / CONFIG_FILE).write_text('{"r": '),
    "list for a configuration": lambda folder: (folder / CONFIG_FILE).write_text("[]"),
    "foreign modules": change_config(target_modules=["c_attn"]),
    "no rank": change_config(r=0),
    "a word for a rank": change_config(r="many"),
    "no LoRA": change_config(peft_type="PREFIX_TUNING"),
}


ALL_DAMAGE = [pytest.param(damage, id=name) for name, damage in (GONE | DAMAGED | BAD_CONFIG).items()]


@pytest.mark.parametrize("beside_another", [False, True])
@pytest.mark.parametrize("damage", ALL_DAMAGE)
def test_an_adapter_that_cannot_be_loaded_is_an_error(saved, damage, beside_another):
    loaded = tiny_with() if beside_another else tiny()
    damage(saved)
    with pytest.raises(ModelError) as caught:
        lora.load(loaded, "saved", saved)
    assert "adapter" in one_sentence(caught.value)


def test_an_adapter_for_a_base_model_of_other_shapes_is_an_error(saved):
    """This happens if a model of the same name has another size here."""
    wider = toy("llama", hidden_size=48, intermediate_size=64)
    with pytest.raises(ModelError, match=r"does not fit this base model .* use the model that it was trained on"):
        lora.load(wider, "saved", saved)
    assert lora.names(wider) == []


@pytest.mark.parametrize("beside_another", [False, True])
@pytest.mark.parametrize("damage", ALL_DAMAGE)
def test_nothing_is_left_of_an_adapter_that_cannot_be_loaded(tmp_path, saved, damage, beside_another):
    """Otherwise base, or half an adapter, would answer the next request for it without notice."""
    loaded = tiny_with() if beside_another else tiny()
    before, present = logits(loaded, BASE), lora.names(loaded)
    shutil.copytree(saved, tmp_path / "whole")
    damage(saved)
    with pytest.raises(ModelError):
        lora.load(loaded, "saved", saved)
    assert lora.names(loaded) == present
    assert torch.equal(logits(loaded, BASE), before)
    lora.load(loaded, "saved", tmp_path / "whole")
    expected = load_file(tmp_path / "whole" / WEIGHTS_FILE)
    got = {name.replace(".saved.", "."): value for name, value in adapter_weights(loaded, "saved").items()}
    assert same_tensors(got, expected)


def test_restoring_fills_the_adapter_that_is_there(tmp_path, saved):
    loaded = tiny_with(seed=77)
    lora.attach(loaded, "other", DROPOUT, seed=3)
    other = adapter_weights(loaded, "other")
    lora.restore(loaded, RUN, saved)
    expected = load_file(saved / WEIGHTS_FILE)
    assert same_tensors({n.replace(f".{RUN}.", "."): v for n, v in adapter_weights(loaded).items()}, expected)
    assert same_tensors(adapter_weights(loaded, "other"), other)


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


# The adapter's strength


def two_adapters() -> LoadedModel:
    loaded = tiny()
    for seed, name in enumerate(THREE[:2]):
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
    before = {name: logits(loaded, name) for name in (BASE, *THREE[:2])}
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
