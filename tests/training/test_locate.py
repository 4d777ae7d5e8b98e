"""Where base weights come from; incomplete or other weights, or code in their place, are never used."""

import hashlib
import json
import os
import sys
from pathlib import Path

import model_folders
import pytest
import torch
from model_folders import left_in, logits, quiet, save_pickled, spoil_cut, spoil_empty, spoil_text, tiny_opt
from safetensors.torch import load_file, save_file

from instruct_tune.errors import LabError, MemoryLimitError, ModelError
from instruct_tune.models import base_model as model_module
from instruct_tune.models.base_model import load_model
from instruct_tune.pretrained import locate as weights
from instruct_tune.pretrained.locate import locate
from instruct_tune.util import memory

pytestmark = pytest.mark.usefixtures("one_thread")

cache, folder, reports = model_folders.cache, model_folders.folder, model_folders.reports


# The tiny model


def test_the_tiny_model_is_made_once(cache, reports):
    first = locate("tiny-random", reports.append)
    made = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    assert (first.model, first.source, first.path) == ("tiny-random", "made here, random", cache / "tiny-random")
    assert locate("tiny-random", reports.append) == first
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == made


def test_the_tiny_model_is_the_same_on_every_machine_and_at_every_time(cache, monkeypatch, tmp_path):
    first = locate("tiny-random", quiet)
    torch.manual_seed(99)
    torch.rand(3)
    before = torch.get_rng_state()
    monkeypatch.setenv("LAB_CACHE_DIR", str(tmp_path / "another"))
    second = locate("tiny-random", quiet)
    assert first.path != second.path
    assert first.sha256 == second.sha256 == hashlib.sha256((first.path / "model.safetensors").read_bytes()).hexdigest()
    assert torch.equal(torch.get_rng_state(), before), "making it draws no random number of anybody else's"


def test_the_tiny_model_loads(cache):
    loaded = load_model("tiny-random", quiet)
    assert loaded.tokenizer.decode(loaded.tokenizer("Hi ☃!")["input_ids"]) == "Hi ☃!"
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training


# Local folders


def test_a_local_folder_with_safetensors_is_used_as_it_is(folder, cache, reports):
    located = locate(str(folder), reports.append)
    assert (located.path, located.source, located.model) == (folder, "local folder", str(folder))
    assert left_in(cache) == []
    assert torch.equal(logits(load_model(str(folder), quiet)), logits(load_model("tiny-random", quiet)))


def test_a_folder_may_be_given_relative_to_where_one_stands(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert locate("local", quiet).path == folder


def test_other_weights_of_the_same_size_have_another_hash(folder):
    """The hash is cached by size and time, so a change must show in one of them."""
    before = locate(str(folder), quiet).sha256
    assert locate(str(folder), quiet).sha256 == before
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = tensors["model.norm.weight"] + 1
    save_file(tensors, file, {"format": "pt"})
    os.utime(file, (1, 1))
    after = locate(str(folder), quiet).sha256
    assert after == hashlib.sha256(file.read_bytes()).hexdigest() != before


@pytest.mark.parametrize("memory", ["", "{", '{"half": "'])
def test_a_damaged_memory_of_hashes_is_made_anew(folder, cache, memory):
    cache.mkdir()
    (cache / "sha256.json").write_text(memory)
    located = locate(str(folder), quiet)
    assert located.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def split_into_shards(folder):
    """Split the model of ``folder`` into two shards and an index, as ``save_pretrained`` does with a large one."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {key: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, key in enumerate(sorted(tensors))}
    for shard in set(places.values()):
        save_file({key: tensors[key] for key in tensors if places[key] == shard}, folder / shard, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sorted(set(places.values()))


def test_the_hash_of_several_files_is_that_of_all(folder):
    whole = logits(load_model(str(folder), quiet))
    shards = split_into_shards(folder)
    save_file({"more": torch.ones(2)}, folder / "z.safetensors")
    parts = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in shards]
    assert locate(str(folder), quiet).sha256 == hashlib.sha256("".join(parts).encode()).hexdigest()
    assert torch.equal(logits(load_model(str(folder), quiet)), whole)


@pytest.mark.parametrize(
    "beside", ["model.fp16.safetensors", "adapter_model.safetensors", "consolidated.safetensors", "z.safetensors"]
)
def test_other_safetensors_beside_the_weights_are_not_used(folder, tmp_path, beside):
    """They are variants, adapters and other programs' copies."""
    before = locate(str(folder), quiet).sha256
    save_file({"more": torch.ones(2)}, folder / beside)
    assert locate(str(folder), quiet).sha256 == before
    load_model(str(folder), quiet)
    model = tiny_opt()
    pickled = Path(save_pickled(tmp_path / "opt", model.state_dict(), model))
    save_file({"more": torch.ones(2)}, pickled / beside)
    assert load_model(str(pickled), quiet).weights.path.parent == tmp_path / "cache"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the last transformers for Python 3.10 would load it")
def test_an_adapter_beside_the_weights_stays_off_the_base_model(folder):
    """transformers would load it, and base would no longer be base."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    plain = logits(load_model(str(folder), quiet))
    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    )
    tuned.save_pretrained(folder)
    assert (folder / "adapter_config.json").is_file()
    loaded = load_model(str(folder), quiet)
    assert torch.equal(logits(loaded), plain)
    assert not any("lora" in name for name, _ in loaded.base.named_parameters())


def test_an_adapter_that_transformers_would_load_is_refused(folder, monkeypatch):
    monkeypatch.setattr(
        "transformers.utils.peft_utils.find_adapter_config_file", lambda folder, subfolder: f"{folder}/{subfolder}"
    )
    with pytest.raises(ModelError, match=r"has an adapter beside its weights.* newer Python\.$"):
        load_model(str(folder), quiet)


@pytest.mark.parametrize("named", ["../secret.safetensors", "/secret.safetensors", "sub/secret.safetensors", "a.py", 5])
def test_an_index_names_weights_of_its_own_folder_only(folder, named):
    split_into_shards(folder)
    save_file({"more": torch.ones(2)}, folder.parent / "secret.safetensors")
    index = {"metadata": {}, "weight_map": {"model.norm.weight": named}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"index\.json of .* names (files that are no weights|no weights)"):
        locate(str(folder), quiet)


def test_a_shard_that_is_missing_is_named(folder):
    shards = split_into_shards(folder)
    (folder / shards[1]).unlink()
    with pytest.raises(ModelError, match=f"lacks {shards[1]}, which its index names"):
        locate(str(folder), quiet)


def test_a_tilde_is_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert locate("~/local", quiet).path == folder
    assert weights.at_hand("~/local") == folder


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_saved_model_is_refused(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=r"no config\.json" if missing == "config.json" else "neither safetensors nor"):
        locate(str(folder), quiet)


@pytest.mark.parametrize("spoil", [spoil_cut, spoil_empty, spoil_text])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_folder_is_refused_in_a_sentence(folder, spoil, name):
    spoil(folder / name)
    with pytest.raises(ModelError) as caught:
        load_model(str(folder), quiet)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_missing_are_not_made_up(folder):
    """transformers would initialise them at random, and the run would train on noise."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.self_attn.q_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="q_proj"):
        load_model(str(folder), quiet)


# Required parts of a model


def test_a_tokenizer_that_cannot_end_an_answer_is_refused(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        load_model(str(folder), quiet)


def test_every_refusal_is_one_sentence_for_people(tmp_path):
    for model in ("/nowhere", "facebook/opt-125m", str(tmp_path)):
        with pytest.raises(LabError) as caught:
            locate(model, quiet)
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")


# Memory


def short_of_memory(monkeypatch, bytes_free):
    monkeypatch.setattr(memory, "available_memory", lambda: bytes_free)


@pytest.mark.parametrize(("bf16", "itemsize"), [(False, 4), (True, 2)])
def test_weights_that_do_not_fit_in_the_dtype_they_are_loaded_in_are_refused_before(
    folder, monkeypatch, bf16, itemsize
):
    split_into_shards(folder)
    needed = itemsize * sum(tensor.numel() for file in folder.glob("*-of-*") for tensor in load_file(file).values())
    with monkeypatch.context() as patch:
        patch.setattr(model_module, "read_model", lambda *a: pytest.fail("it was loaded"))
        short_of_memory(patch, needed - 1)
        with pytest.raises(MemoryLimitError, match="smaller model") as caught:
            load_model(str(folder), quiet, bf16)
    assert f"take {needed / 1e6:,.0f} MB" in str(caught.value)
    short_of_memory(monkeypatch, needed)
    assert load_model(str(folder), quiet, bf16).model.dtype.itemsize == itemsize


def test_memory_that_the_allocator_still_holds_counts_as_free(folder, monkeypatch):
    free = [0]
    monkeypatch.setattr(memory, "available_memory", lambda: free[0])
    monkeypatch.setattr(memory, "give_back", lambda: free.__setitem__(0, 2**30))
    assert load_model(str(folder), quiet)


def test_a_system_that_does_not_say_how_much_memory_is_free_refuses_nothing(folder, monkeypatch):
    short_of_memory(monkeypatch, None)
    assert load_model(str(folder), quiet)
