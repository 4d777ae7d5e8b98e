"""A saved adapter is what PEFT loads, and a damaged one leaves the model as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from adapters import disturb, logits, one_sentence
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_lab import (
    DROPOUT,
    RUN,
    adapter_weights,
    go,
    light,  # noqa: F401
    same_tensors,
    tiny,
    tiny_with,
    toy,
)

from instruct_tune.config.run_config import LoraSettings
from instruct_tune.errors import ModelError
from instruct_tune.models import lora
from instruct_tune.models.lora import BASE, CONFIG_FILE, WEIGHTS_FILE


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


def test_only_safetensors_and_the_hubs_name(saved):
    assert sorted(path.name for path in saved.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    text = (saved / CONFIG_FILE).read_text()
    config = json.loads(text)
    loaded = tiny()
    assert config["base_model_name_or_path"] == loaded.weights.model == "tiny-random"
    assert str(loaded.weights.path) not in text
    assert str(loaded.base.config._name_or_path) not in text
    assert config["inference_mode"] is True
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]
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
    with pytest.raises(ModelError) as caught:
        lora.load(loaded, "saved", saved)
    assert "adapter" in one_sentence(caught.value)
    assert lora.names(loaded) == present
    assert torch.equal(logits(loaded, BASE), before)
    lora.load(loaded, "saved", tmp_path / "whole")
    expected = load_file(tmp_path / "whole" / WEIGHTS_FILE)
    got = {name.replace(".saved.", "."): value for name, value in adapter_weights(loaded, "saved").items()}
    assert same_tensors(got, expected)


def test_restoring_fills_the_adapter_that_is_there(saved):
    loaded = tiny_with(seed=77)
    lora.attach(loaded, "other", DROPOUT, seed=3)
    other = adapter_weights(loaded, "other")
    lora.restore(loaded, RUN, saved)
    expected = load_file(saved / WEIGHTS_FILE)
    assert same_tensors({n.replace(f".{RUN}.", "."): v for n, v in adapter_weights(loaded).items()}, expected)
    assert same_tensors(adapter_weights(loaded, "other"), other)
