"""Rows from the Hub load like those of a file; a failure is one clear sentence."""

import json
import time
from datetime import datetime
from types import SimpleNamespace

import datasets
import huggingface_hub
import pyarrow
import pytest
from data_files import everything, load_error, make_rows, settings, write
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.utils import httpx

from instruct_tune.data.splits import load_splits
from instruct_tune.errors import HubError
from instruct_tune.pretrained import hub


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An unreachable Hub and an empty datasets cache; returns the cache's folder."""
    monkeypatch.setattr(hub, "hub_reachable", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


class FakeHub:
    """A stand-in for the Hub: a dataset, its card and its access settings."""

    def __init__(self):
        self.splits = {"train": datasets.Dataset.from_list(make_rows(20, with_input=5))}
        self.info = SimpleNamespace(gated=False, siblings=[], card_data=SimpleNamespace(license="mit"))
        self.requested = []

    def dataset_info(self, api, repo, timeout):
        self.requested.append(repo)
        if isinstance(self.info, Exception):
            raise self.info
        return self.info

    def load_dataset(self, repo, token):
        self.requested.append(repo)
        if isinstance(self.splits, Exception):
            raise self.splits
        return datasets.DatasetDict(self.splits)


@pytest.fixture
def online(monkeypatch, tmp_path):
    fake = FakeHub()
    monkeypatch.setenv("LAB_CACHE_DIR", str(tmp_path / "lab-cache"))
    monkeypatch.setattr(hub, "hub_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *a, **k: fake.dataset_info(*a, **k))
    monkeypatch.setattr(datasets, "load_dataset", fake.load_dataset)
    # test_hub_files.py tests the download itself, against a small local Hub.
    monkeypatch.setattr(
        datasets,
        "load_dataset_builder",
        lambda repo, token: SimpleNamespace(config=SimpleNamespace(data_files=None), hash="abc"),
    )
    return fake


def refusal(kind, status):
    return kind("refused", response=httpx.Response(status, request=httpx.Request("GET", "https://hub.test")))


def test_a_hub_dataset_is_loaded_like_a_file(online, tmp_path):
    splits = load_splits(settings("hub:owner/name", "without_input"))
    path = write(tmp_path / "rows.json", make_rows(20, with_input=5))
    assert everything(splits) == everything(load_splits(settings(path, "without_input")))
    assert (splits.source, splits.licence, splits.rows_loaded) == ("hub:owner/name", "mit", 20)
    assert online.requested == ["owner/name", "owner/name"]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, "unknown"),
        (SimpleNamespace(license=None), "unknown"),
        (SimpleNamespace(license=["mit", "apache-2.0"]), "mit, apache-2.0"),
    ],
)
def test_the_licence_is_what_the_card_says(online, card, licence):
    online.info.card_data = card
    assert load_splits(settings("hub:owner/name")).licence == licence


def test_codealpaca_comes_from_its_repository_with_both_licences(online):
    splits = load_splits(settings("codealpaca-20k"))
    assert set(online.requested) == {"sahil2801/CodeAlpaca-20k"}
    assert splits.source == "codealpaca-20k"
    assert "CC BY 4.0" in splits.licence
    assert "CC BY-NC 4.0" in splits.licence


def test_another_split_and_a_split_that_is_not_there(online):
    online.splits["validation"] = datasets.Dataset.from_list(make_rows(10))
    assert load_splits(settings("hub:owner/name", split="validation")).rows_loaded == 10
    message = load_error(settings("hub:owner/name", split="test"))
    assert message == "owner/name has no split 'test': set data.split to one of 'train', 'validation'."


def test_hub_columns_are_checked_like_those_of_a_file(online):
    online.splits = {"train": datasets.Dataset.from_dict({"instruction": ["a", "b"], "output": [1, 2]})}
    assert "'output' of owner/name holds a number instead of text in 2 rows" in load_error(settings("hub:owner/name"))
    # As datasets reads a JSON file's column in which all texts are dates.
    days = [datetime(2026, 12, day) for day in (1, 2)]
    online.splits = {"train": datasets.Dataset.from_dict({"instruction": ["a", "b"], "output": days})}
    message = load_error(settings("hub:owner/name"))
    assert "'output' of owner/name holds dates instead of text in 2 rows" in message
    assert "download it and give its path" in message
    online.splits = {"train": datasets.Dataset.from_dict({"text": []})}
    assert "owner/name has no rows" in load_error(settings("hub:owner/name"))


@pytest.mark.parametrize("repo", ["", "name", "a/b/c", "../etc", "owner/", "owner/..", "own er/name", "https://x/y"])
def test_a_hub_id_is_owner_and_name(online, repo):
    assert load_error(settings(f"hub:{repo}")) == f"{repo!r} is not a Hub dataset: write hub:OWNER/NAME."
    assert online.requested == []


def test_a_repository_that_is_not_there(online):
    online.info = refusal(RepositoryNotFoundError, 404)
    assert "The Hub has no owner/name" in load_error(settings("hub:owner/name"), HubError)


def test_a_gated_repository(online, monkeypatch):
    def refuse(self, repo, repo_type):
        raise refusal(GatedRepoError, 403)

    online.info.gated = "auto"
    monkeypatch.setattr(huggingface_hub.HfApi, "auth_check", refuse)
    assert "owner/name is gated on the Hub: accept its terms" in load_error(settings("hub:owner/name"), HubError)


@pytest.mark.parametrize("when", ["info", "splits"])
@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no route to host"), ConnectionError("no route to host"), OSError("disk full")]
)
def test_a_hub_that_goes_away_on_the_way(online, when, error):
    setattr(online, when, error)
    message = load_error(settings("hub:owner/name"), HubError, leaks=("Traceback", "Arrow", "object at 0x"))
    assert "The Hub did not give owner/name" in message
    assert str(error) in message


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Config name is missing.\nPlease pick one among the available configs: ['main', 'socratic']"),
        RuntimeError("Dataset scripts are no longer supported, but found name.py"),
        datasets.exceptions.DatasetGenerationError("An error occurred while generating the dataset"),
        datasets.exceptions.DataFilesNotFoundError("No (supported) data files found in owner/name"),
    ],
)
def test_a_hub_dataset_that_cannot_be_loaded_as_it_is(online, error):
    online.splits = error
    message = load_error(settings("hub:owner/name"))
    assert str(error).splitlines()[0] in message
    assert "download the file you want and give its path" in message


@pytest.mark.parametrize("source", ["codealpaca-20k", "hub:owner/name"])
def test_without_the_hub_one_reads_at_once_what_to_do(offline, source):
    start = time.monotonic()
    message = load_error(settings(source), HubError)
    assert time.monotonic() - start < 5
    assert "The Hub cannot be reached" in message
    assert str(offline) in message
    assert "data.source=bundled" in message
    assert "local file" in message


def test_the_real_hub_out_of_reach_is_reported_within_ten_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_last", (-hub.REMEMBER_SECONDS, False))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    start = time.monotonic()
    if hub.hub_reachable():
        pytest.skip("the Hub can be reached from here")
    message = load_error(settings("codealpaca-20k"), HubError)
    assert time.monotonic() - start < 10
    assert "sahil2801/CodeAlpaca-20k" in message


def put_in_cache(cache, rows):
    """Writes the files that ``load_dataset`` caches after loading owner/My-Set from the Hub; returns their folder."""
    folder = cache / "owner___my-set" / "default" / "0.0.0" / "abc"
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.ipc.new_stream(folder / "my-set-train.arrow", table.schema) as stream:
        stream.write_table(table)
    info = {
        "dataset_name": "my-set",
        "config_name": "default",
        "features": datasets.Features.from_arrow_schema(table.schema).to_dict(),
        "splits": {"train": {"name": "train", "num_examples": len(rows), "dataset_name": "my-set"}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def test_without_the_hub_the_local_cache_is_used(offline, tmp_path):
    rows = make_rows(20, with_input=5)
    put_in_cache(offline, rows)
    splits = load_splits(settings("hub:owner/My-Set", "without_input"))
    path = write(tmp_path / "rows.json", rows)
    assert everything(splits) == everything(load_splits(settings(path, "without_input")))
    assert splits.licence == "unknown"
    assert "has no split 'test'" in load_error(settings("hub:owner/My-Set", split="test"))


@pytest.mark.parametrize("broken", ["my-set-train.arrow", "dataset_info.json"])
@pytest.mark.parametrize("content", [None, b"", b"garbage", b"{}"])
def test_a_broken_cache_is_no_cache(offline, broken, content):
    file = put_in_cache(offline, make_rows(20)) / broken
    file.unlink() if content is None else file.write_bytes(content)
    assert "no usable copy of owner/My-Set" in load_error(settings("hub:owner/My-Set"), HubError)
