"""Downloads of a tokenizer: no weights are fetched, the bytes are bounded, and a download can be stopped."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from test_access import in_shards
from toy_hub import TOKEN, ToyHub, serving_hub

from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.errors import HubError, ModelError
from instruct_tune.pretrained import hub
from instruct_tune.pretrained.locate import at_hand, locate
from instruct_tune.pretrained.repository import MAX_TEXT_FILES, Repository, is_text
from instruct_tune.pretrained.tiny_random import make_tiny_model
from instruct_tune.pretrained.tokenizer_files import tokenizer_folder
from instruct_tune.util.progress import Loading

# Each test starts processes that import torch, which takes seconds.
pytestmark = pytest.mark.slow

# In a process of its own, since the Hub's client reads its address when it is imported.
SCRIPT = """
import json, sys, threading, time
from instruct_tune.errors import LabError, Stopped
from instruct_tune.pretrained import hub
from instruct_tune.util.progress import Loading
from instruct_tune.pretrained.tokenizer_files import tokenizer_folder
from instruct_tune.pretrained.locate import at_hand, locate

wants, model, stop_after, stop_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if "offline" in sys.argv:
    hub.hub_reachable = lambda: False
loading, download, files = Loading(), hub.download, []

def counting(repo, name, loading, **which):
    if len(files) == stop_after:
        loading.stop()
    files.append(name)
    return download(repo, name, loading, **which)

hub.download = counting
seen, advance = [], loading.advance

def advancing(count):
    advance(count)
    seen.append((loading.phase, loading.done, loading.total))
    if loading.done >= stop_bytes > 0:
        loading.stop()

loading.advance = advancing
try:
    if wants == "tokenizer":
        folder = tokenizer_folder(model, loading)
    else:
        folder = locate(model, lambda text: None, loading).path
    came = sorted(file.name for file in folder.iterdir())
except Stopped:
    came = "stopped"
except LabError as error:
    came = f"{error.kind}: {error}"
print(json.dumps({
    "came": came, "at hand": at_hand(model) is not None, "seen": seen,
    "torch": "torch" in sys.modules, "phase": loading.phase, "total": loading.total,
}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_tiny_model(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def fetch(tmp_path):
    """Downloads from a toy Hub in a process of its own; the caches are kept between calls."""

    def fetch(toy, wants, *flags, stop_after=-1, stop_bytes=0, **environment):
        with serving_hub(toy) as address:
            done = subprocess.run(
                [
                    sys.executable, "-W", "ignore", "-c", SCRIPT, wants, "some/model", str(stop_after),
                    str(stop_bytes), *flags,
                ],
                env={
                    **os.environ,
                    "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0",
                    "LAB_CACHE_DIR": str(tmp_path / "lab"), **environment,
                },
                cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return fetch


def fetched(toy):
    """The files whose bytes were requested, in that order."""
    return [line.partition("/resolve/")[2].partition("/")[2] for line in toy.requests if line.startswith("GET /some/")]


TEXTS = ["chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]


def test_shards_without_the_rest_are_no_whole_model(files, fetch, tmp_path):
    whole = in_shards(files, tmp_path)
    toy = ToyHub({}, models={"some/model": whole})
    # The index, configuration and tokenizer have come, and one of the two shards.
    assert not fetch(toy, "weights", stop_after=len(whole) - 1)["at hand"]
    assert set(TEXTS) < set(fetch(toy, "tokenizer", "offline")["came"]) < set(whole)
    assert fetch(toy, "weights")["came"] == sorted(whole)


@pytest.mark.parametrize(("wants", "large"), [("tokenizer", "tokenizer.json"), ("weights", "model.safetensors")])
def test_every_download_counts_its_bytes_and_can_be_stopped_within_a_file(files, fetch, wants, large):
    content = files[large].ljust(8 * 2**20, b" ")
    toy = ToyHub({}, models={"some/model": {**files, large: content}}, pause=0.05)
    needed = {
        name: content for name, content in toy.models["some/model"].items() if wants == "weights" or is_text(name)
    }
    result = fetch(toy, wants, stop_bytes=2**20)
    assert result["came"] == "stopped"
    assert not result["at hand"]
    phase, done, total = result["seen"][-1]
    assert phase == f"Downloading some/model ({len(needed)} files)"
    assert 2**20 <= done < 3 * 2**20
    assert total == sum(map(len, needed.values()))
    assert toy.sent * 64 * 1024 < 5 * 2**20, "the rest was not sent"
    toy.pause = 0.0
    if wants == "tokenizer":
        result = fetch(toy, wants)
        assert result["came"] == TEXTS
        assert result["seen"][-1][1:] == [total, total]


# Bounds, before the first byte


def refused(toy, result, kind="model"):
    assert result["came"].startswith(f"{kind}: ")
    assert result["came"].count("\n") == 0
    assert not result["at hand"]
    return result["came"]


def test_weights_above_the_hosts_limit_are_refused_before_the_first_byte(files, fetch):
    toy = ToyHub({}, models={"some/model": files}, sizes={"model.safetensors": 3 * 2**20})
    message = refused(toy, fetch(toy, "weights", LAB_MAX_DOWNLOAD_MB="2"))
    for words in ("some/model has 4 MB", "at most 2 MB", "LAB_MAX_DOWNLOAD_MB", "smaller one"):
        assert words in message
    assert fetched(toy) == []
    assert fetch(toy, "tokenizer", LAB_MAX_DOWNLOAD_MB="2")["came"] == TEXTS, "whose files are small"


def test_shards_above_the_hosts_limit_are_refused_before_their_first_byte(files, fetch, tmp_path):
    whole = in_shards(files, tmp_path)
    large = {name: 2 * 2**20 for name in whole if "-of-" in name}
    toy = ToyHub({}, models={"some/model": whole}, sizes=large)
    assert "has 5 MB of files" in refused(toy, fetch(toy, "weights", LAB_MAX_DOWNLOAD_MB="3"))
    assert fetched(toy) == ["model.safetensors.index.json"]


@pytest.mark.parametrize("wants", ["tokenizer", "weights"])
@pytest.mark.parametrize("bound", ["number", "bytes", "host"])
def test_a_tokenizer_of_too_many_files_or_bytes_is_refused_before_the_first_byte(files, fetch, wants, bound):
    many = {f"{number}.model": b"x" for number in range(MAX_TEXT_FILES)} if bound == "number" else {}
    sizes = {"tokenizer.json": 201 * 2**20} if bound == "bytes" else {}
    limit = {"LAB_MAX_DOWNLOAD_MB": "1"} if bound == "host" else {}
    toy = ToyHub({}, models={"some/model": {**files, **many}}, sizes=sizes or {"tokenizer.json": 2 * 2**20})
    message = refused(toy, fetch(toy, wants, **limit))
    assert {"number": "105 files", "bytes": "201 MB", "host": "LAB_MAX_DOWNLOAD_MB"}[bound] in message
    assert fetched(toy) == []


def test_of_shards_not_even_the_index_comes_where_the_rest_is_too_large(files, fetch, tmp_path):
    toy = ToyHub({}, models={"some/model": in_shards(files, tmp_path)}, sizes={"tokenizer.json": 2 * 2**20})
    assert "LAB_MAX_DOWNLOAD_MB" in refused(toy, fetch(toy, "weights", LAB_MAX_DOWNLOAD_MB="1"))
    assert fetched(toy) == []


def test_an_index_of_the_size_of_weights_is_refused(files, fetch, tmp_path):
    whole = in_shards(files, tmp_path)
    toy = ToyHub({}, models={"some/model": whole}, sizes={"model.safetensors.index.json": 300 * 2**20})
    assert "at most 200 MB" in refused(toy, fetch(toy, "weights"))
    assert fetched(toy) == []


def test_an_index_that_names_what_is_not_there_is_refused(files, fetch, tmp_path):
    whole = in_shards(files, tmp_path)
    shard = sorted(name for name in whole if "-of-" in name)[1]
    del whole[shard]
    toy = ToyHub({}, models={"some/model": whole})
    assert f"lacks {shard} on the Hub" in refused(toy, fetch(toy, "weights"))


def test_a_file_of_unknown_size_is_not_downloaded():
    repository = Repository("some/model", None, {"config.json": 2, "tokenizer.json": None})
    with pytest.raises(HubError, match=r"does not say how large tokenizer\.json of some/model is"):
        repository.download(repository.texts(), Loading())


def test_a_repository_without_a_configuration_is_no_model(files, fetch):
    rest = {name: content for name, content in files.items() if name != "config.json"}
    toy = ToyHub({}, models={"some/model": rest})
    for wants in ("tokenizer", "weights"):
        assert "has no config.json" in refused(toy, fetch(toy, wants))
    assert fetched(toy) == []


# Access


@pytest.mark.parametrize("closed", ["private", "gated"])
def test_a_visitor_gets_no_tokenizer_that_only_the_host_may_read(files, fetch, closed):
    toy = ToyHub({}, models={"some/model": files}, **{closed: ("some/model",)})
    assert fetch(toy, "tokenizer", HF_TOKEN=TOKEN)["came"] == TEXTS
    toy.tokens.clear()
    for flags in ([], ["offline"]):
        refused(toy, fetch(toy, "tokenizer", *flags, HF_TOKEN=TOKEN, SPACE_ID="someone/space"), "unreachable")
    assert toy.tokens == {None}


def test_a_tokenizer_that_came_without_a_token_is_served_without_the_hub(files, fetch):
    toy = ToyHub({}, models={"some/model": files})
    space = {"HF_TOKEN": TOKEN, "SPACE_ID": "someone/space"}
    assert fetch(toy, "tokenizer", **space)["came"] == TEXTS
    assert fetch(toy, "tokenizer", "offline", **space)["came"] == TEXTS


# This machine


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A new cache of the lab, an empty Hub cache, and an unreachable Hub."""
    monkeypatch.setenv("LAB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "hub_reachable", lambda: False)
    return tmp_path / "cache"


def test_what_has_to_be_made_first_has_no_folder_until_it_is_made(cache):
    assert tokenizer_folder("tiny-random") is None
    assert tokenizer_folder(DEFAULT_MODEL) is None
    assert not cache.exists()
    made = locate("tiny-random", lambda text: None).path
    assert tokenizer_folder("tiny-random") == made
    shutil.copytree(made, cache / "wheel")
    assert tokenizer_folder(DEFAULT_MODEL) == at_hand(DEFAULT_MODEL) == cache / "wheel"


def test_a_local_folder_is_taken_as_it_is_and_nothing_is_converted(cache, tmp_path):
    folder = tmp_path / "model"
    make_tiny_model(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert tokenizer_folder(str(folder)) == folder
    assert not cache.exists()
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        tokenizer_folder(str(folder))


@pytest.mark.parametrize("model", ["some/model", "facebook/opt-125m"])
def test_without_the_hub_the_message_is_that_of_the_weights(cache, model):
    messages = []
    for fetch in (tokenizer_folder, lambda name: locate(name, lambda text: None)):
        with pytest.raises(HubError) as caught:
            fetch(model)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("model", ["a/b/c", "../x", "/nowhere", ""])
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(cache, model):
    with pytest.raises(ModelError, match="neither a folder"):
        tokenizer_folder(model)


def test_every_file_that_transformers_reads_for_a_tokenizer_is_fetched():
    import transformers

    sources = Path(transformers.__file__).parent
    pattern = re.compile(r'"\w+_file": "([^"]+\.[a-z]+)"')
    names = {
        name
        for file in [*sources.glob("tokenization_*.py"), *sources.glob("models/*/tokenization_*.py")]
        for name in pattern.findall(file.read_text(encoding="utf-8"))
    }
    assert {"tokenizer.json", "spiece.model", "bpe.codes"} <= names
    assert [name for name in sorted(names) if not is_text(name)] == []
    assert is_text("additional_chat_templates/rag.jinja")


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors.index.json", "trainer_state.json", "README.md", "modeling_x.py", "onnx/tokenizer.json",
        "additional_chat_templates/x.py", "additional_chat_templates/deep/x.jinja", "notes.txt",
    ],
)  # fmt: skip
def test_no_other_file_is_taken_for_the_tokenizers(name):
    assert not is_text(name)
