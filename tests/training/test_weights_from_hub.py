"""Base weights come from the Hub or its cache, without code, and each refusal is a sentence."""

import shutil
from pathlib import Path

import model_folders
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.utils import httpx
from model_folders import fake_hub, quiet, save_pickled, tiny_opt

from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.errors import HubError, ModelError, Stopped
from instruct_tune.pretrained import hub
from instruct_tune.pretrained.locate import locate
from instruct_tune.util.progress import Loading

pytestmark = pytest.mark.usefixtures("one_thread")

cache, folder, reports = model_folders.cache, model_folders.folder, model_folders.reports


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
