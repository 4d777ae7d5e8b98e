"""The slow tests of tests/services/test_tokenizer_files.py, for the nightly run."""

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
from test_tokenizer_files import TEXTS, fetch, fetched, files
from toy_hub import TOKEN, ToyHub, serving_hub

from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.errors import HubError, ModelError
from instruct_tune.pretrained import hub
from instruct_tune.pretrained.locate import at_hand, locate
from instruct_tune.pretrained.repository import MAX_TEXT_FILES, Repository, is_text
from instruct_tune.pretrained.tiny_random import make_tiny_model
from instruct_tune.pretrained.tokenizer_files import tokenizer_folder
from instruct_tune.util.progress import Loading


def test_of_many_files_the_tokenizers_alone_come_and_the_weights_when_they_are_needed(files, fetch):
    others = {f"checkpoint-{n}.json": b"{}" for n in range(95)} | {f"log-{n}.txt": b"x" for n in range(95)}
    toy = ToyHub({}, models={"some/model": {**files, **others, "pytorch_model.bin": b"x", "onnx/config.json": b"{}"}})
    assert len(toy.models["some/model"]) >= 191
    result = fetch(toy, "tokenizer")
    assert result["came"] == TEXTS
    assert not result["torch"]
    assert not result["at hand"], "what is at hand has its weights"
    assert sorted(fetched(toy)) == TEXTS
    assert fetched(toy)[-1] == "config.json", "or an interrupted download would be taken for a whole one"
    requests = len(toy.requests)
    assert fetch(toy, "tokenizer", "offline")["came"] == TEXTS
    assert len(toy.requests) == requests, "what is cached is found without the Hub"
    result = fetch(toy, "weights")
    assert result["came"] == sorted([*TEXTS, "model.safetensors"])
    assert result["at hand"]
    assert sorted(fetched(toy)) == sorted([*TEXTS, "model.safetensors"]), "each file once"


@pytest.mark.parametrize("stop_after", [0, 3, 6])
def test_a_tokenizer_that_was_broken_off_is_not_taken_for_a_whole_one(files, fetch, stop_after):
    toy = ToyHub({}, models={"some/model": {**files, "vocab.json": b"{}", "merges.txt": b""}})
    assert fetch(toy, "tokenizer", stop_after=stop_after)["came"] == "stopped"
    assert "cannot be reached" in fetch(toy, "tokenizer", "offline")["came"]
    assert fetch(toy, "tokenizer")["came"] == sorted([*TEXTS, "vocab.json", "merges.txt"])
