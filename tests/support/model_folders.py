"""Saved models for the tests of base weights: whole ones, damaged ones, pickles, and a Hub that has them."""

import shutil
import types

import huggingface_hub
import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from instruct_tune.pretrained import hub
from instruct_tune.pretrained.locate import locate
from instruct_tune.pretrained.tiny_random import byte_tokenizer


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


@pytest.fixture
def folder(tmp_path, cache):
    """A local copy of the tiny model."""
    shutil.copytree(locate("tiny-random", quiet).path, tmp_path / "local")
    shutil.rmtree(cache)
    return tmp_path / "local"


def spoil_cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def spoil_empty(file):
    file.write_bytes(b"")


def spoil_text(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


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
