"""Adapters from elsewhere: kept with every field that affects their function, or refused by the field's name."""

from __future__ import annotations

import dataclasses
import json
import time
import zipfile

import pytest
import torch
from at_night import at_night_after
from labs import PATIENCE, cache_for, opened, smoke
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_lab import held_out_by_hand, tiny, toy

from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import examples, load_splits, take_probe_rows
from instruct_tune.errors import DataError, ModelError, SettingsError
from instruct_tune.export import adapter_config
from instruct_tune.models import lora as adapter
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.tokenization.encode import tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON

pytestmark = pytest.mark.usefixtures("one_thread")
FIRST_LAYER = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("lab")) as lab:
            yield lab


def trained_elsewhere(folder, loaded: LoadedModel | None = None, dtype=torch.float32, **fields):
    """Makes an adapter with PEFT, with non-zero B matrices, and saves it in ``folder``; returns the PeftModel."""
    torch.manual_seed(3)
    fields = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"} | fields
    model = get_peft_model((loaded or tiny()).base, LoraConfig(**fields)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                parameter.copy_(torch.randn(parameter.shape).to(dtype) * 20)
            elif "lora_" in name:
                parameter.copy_(parameter.to(dtype))
    model.peft_config["default"].base_model_name_or_path = "tiny-random"
    model.save_pretrained(folder, save_embedding_layers=False)
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(weights).items()}, weights)
    return model


def zipped(folder, **changed):
    """The folder as a zip, with some fields of its configuration changed."""
    config = json.loads((folder / "adapter_config.json").read_text()) | changed
    with zipfile.ZipFile(folder / "adapter.zip", "w") as archive:
        archive.writestr("adapter_config.json", json.dumps(config))
        archive.write(folder / "adapter_model.safetensors", "adapter_model.safetensors")
    return folder / "adapter.zip"


def held_out_loss(model, config) -> float:
    """The loss on a run's probe rows, each row alone, by PEFT's own model."""
    loaded = tiny()
    test = load_splits(config.data).test
    rows = examples(take_probe_rows(test, config.evaluation_rows, config.train.probe_rows))
    alone = dataclasses.replace(loaded, model=model)
    return held_out_by_hand(alone, tokenize_examples(loaded.tokenizer, LESSON, rows, config.train.max_length))


KINDS = {
    "a fraction": {"lora_alpha": 22.6},
    "a small fraction": {"lora_alpha": 0.4},
    "stabilised": {"use_rslora": True, "r": 8},
    "prefixed": {"target_modules": ["self_attn.q_proj", "mlp.up_proj"]},
    "whole paths": {"target_modules": FIRST_LAYER},
    "a pattern": {"target_modules": r".*\.1\.(self_attn\.(q|v)|mlp\.down)_proj"},
    "names of others too": {"target_modules": ["q_proj", "query_key_value", "c_attn"]},
    "all linear": {"target_modules": "all-linear"},
    "half precision": {"dtype": torch.bfloat16},
    "another initialisation": {"init_lora_weights": "gaussian"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", at_night_after(5, KINDS))
def test_a_child_begins_with_the_function_that_peft_gives_the_adapter(lab, tmp_path, kind):
    model = trained_elsewhere(tmp_path, **KINDS[kind])
    run_id = lab.transfers.import_run(HOST, zipped(tmp_path))
    child = lab.training.start(
        HOST, smoke(lora=lab.runs.details(HOST, run_id)["config"]["lora"], train={"max_steps": 1}), parent=run_id
    )
    run = lab.training.wait(child, PATIENCE)
    assert run.status == "finished", run.message
    first = next(m for m in lab.runs.metrics(HOST, child) if m["kind"] == "probe" and m["step"] == 0)
    expected = held_out_loss(model, lab.runs.config(HOST, child))
    assert first["probe_loss"] == pytest.approx(expected, rel=1e-5)
    with model.disable_adapter():
        assert held_out_loss(model, lab.runs.config(HOST, child)) != pytest.approx(expected, rel=1e-4)
    # The export holds the same function on the same modules.
    lab.transfers.export(HOST, child, tmp_path / "out.zip")
    saved = json.loads(zipfile.ZipFile(tmp_path / "out.zip").read("adapter_config.json"))
    assert (saved["lora_alpha"], saved["use_rslora"]) == (
        model.peft_config["default"].lora_alpha, model.peft_config["default"].use_rslora,
    )  # fmt: skip
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert load_file(lab.store.folder(child) / "adapter" / "adapter_model.safetensors").keys() == tensors.keys()
    cost = lab.estimates.cost(HOST, lab.runs.config(HOST, child), measure=False)
    assert cost["trainable_parameters"] == sum(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
        ({"layers_to_transform": 0}, "layers_to_transform"),
        ({"layers_to_transform": [1]}, "layers_to_transform"),
        ({"exclude_modules": "model.layers.0.*"}, "exclude_modules"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights"),
        ({"init_lora_weights": "mica"}, "init_lora_weights"),
        ({"bias": "lora_only"}, "a bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"revision": "refs/pr/3"}, "revision"),
        ({"ensure_weight_tying": True}, "ensure_weight_tying"),
        ({"kasa_config": {"beta": 1}}, "kasa_config"),
        # Fields of a PEFT that is newer than the installed one.
        ({"use_tomorrows_scaling": True}, "use_tomorrows_scaling"),
        ({"scaling_schedule": {"a": 1}}, "scaling_schedule"),
    ],
)
def test_what_is_not_kept_is_refused_by_name(lab, tmp_path, changed, named):
    trained_elsewhere(tmp_path)
    with pytest.raises(DataError, match=f"this one has {named}") as raised:
        lab.transfers.import_run(HOST, zipped(tmp_path, **changed))
    assert "Merge it into its base model" in str(raised.value)


def test_fields_that_are_not_set_are_no_obstacle(lab, tmp_path):
    trained_elsewhere(tmp_path)
    lab.transfers.import_run(HOST,
        zipped(tmp_path, use_tomorrows_scaling=False, scaling_schedule={}, rank_pattern=None, layers_to_transform=[],
               revision="main", fan_in_fan_out=True, peft_version="9.9.9")
    )  # fmt: skip


def test_every_field_of_pefts_configuration_is_kept_or_refused_unless_it_is_the_default():
    for field in dataclasses.fields(LoraConfig):
        default = getattr(LoraConfig(), field.name)
        assert not adapter_config._changes_function(field.name, default), field.name
        harmless = field.name in (*adapter_config.KEPT, *adapter_config.WITHOUT_EFFECT)
        assert harmless != adapter_config._changes_function(field.name, {"anything": "else"}), field.name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"r": 8}, "r is 8"),
        ({"r": 10**400}, "must hold r"),
        ({"lora_alpha": float("nan")}, "must hold r"),
        ({"lora_alpha": 10**400}, "must hold r"),
        ({"lora_dropout": 1.5}, "lora_dropout must be"),
        ({"use_rslora": "yes"}, "use_rslora true or false"),
        ({"target_modules": ["k_proj"]}, "does not name"),
    ],
)
def test_a_configuration_that_is_not_that_of_its_weights_is_refused(lab, tmp_path, fields, message):
    trained_elsewhere(tmp_path)
    with pytest.raises(DataError, match=message):
        lab.transfers.import_run(HOST, zipped(tmp_path, **fields))


@pytest.mark.parametrize("targets", [["lm_head"], ["q_proj", "lm_head"], ["embed_tokens"], ["v_proj", "embed_tokens"]])
def test_an_adapter_on_the_head_or_the_embeddings_is_refused(lab, tmp_path, targets):
    trained_elsewhere(tmp_path, target_modules=targets)
    with pytest.raises(DataError, match="LM head or the embeddings") as raised:
        lab.transfers.import_run(HOST, zipped(tmp_path))
    assert "merge it into its base model" in str(raised.value)


@pytest.mark.parametrize("targets", [["lm_head"], ["wte"], ["c_attn", "lm_head"]])
def test_such_an_adapter_is_not_loaded_either_whatever_its_modules_are_called(tmp_path, targets):
    trained_elsewhere(tmp_path, toy("gpt2"), target_modules=targets)
    loaded = toy("gpt2")
    with pytest.raises(ModelError, match="LM head or the embeddings"):
        adapter.load(loaded, "x", tmp_path)
    assert adapter.names(loaded) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(lab, tmp_path, number, dtype):
    trained_elsewhere(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    next(reversed(weights.values()))[1, 1] = number
    save_file({name: tensor.to(dtype) for name, tensor in weights.items()}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(DataError, match="not finite"):
        lab.transfers.import_run(HOST, zipped(tmp_path))


def test_a_pattern_from_a_zip_is_never_run(lab, tmp_path):
    trained_elsewhere(tmp_path)
    began = time.monotonic()
    run_id = lab.transfers.import_run(HOST, zipped(tmp_path, target_modules=r"(([\w.]+)+)+!"))
    assert time.monotonic() - began < 2
    assert lab.runs.details(HOST, run_id)["config"]["lora"]["target_modules"] == [
        f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)
    ]


def test_a_run_that_was_recorded_rounded_is_not_continued_at_another_scale(lab, tmp_path):
    trained_elsewhere(tmp_path, lora_alpha=22.6)
    run_id = lab.transfers.import_run(HOST, zipped(tmp_path))
    lora = lab.runs.details(HOST, run_id)["config"]["lora"]
    config = lab.runs.details(HOST, run_id)["config"] | {"lora": lora | {"lora_alpha": 23}}
    old = dataclasses.replace(lab.store.get(run_id), config=config)
    from instruct_tune.config.run_config import RunConfig
    from instruct_tune.runs import continuation

    folder = lab.store.folder(run_id) / "adapter"
    with pytest.raises(SettingsError, match=r"lora\.lora_alpha is 23 and not 22\.6"):
        continuation.require_fit(old, RunConfig.from_dict(config), folder)
    continuation.require_fit(old, RunConfig.from_dict(config | {"lora": lora}), folder)


def test_the_numbers_of_an_exported_run_are_those_of_its_adapter(lab, tmp_path):
    """Somebody may have edited one of the two files in the zip."""
    trained_elsewhere(tmp_path, lora_alpha=22.6)
    file = zipped(tmp_path)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("run_config.json", json.dumps(smoke(lora={"r": 16, "lora_alpha": 3}).to_dict()))
    lora = lab.runs.details(HOST, lab.transfers.import_run(HOST, file))["config"]["lora"]
    assert (lora["r"], lora["lora_alpha"], lora["target_modules"]) == (4, 22.6, "auto")
