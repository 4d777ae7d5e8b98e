"""The slow tests of tests/services/test_access.py, for the nightly run."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_access import DOWNLOADS, STRANGERS, files, in_shards, refused, toy, tries
from toy_hub import COMMIT, TOKEN, ToyHub, serving_hub

from instruct_tune.pretrained.tiny_random import make_tiny_model


def test_what_is_recorded_is_that_commit_and_no_other(tries, tmp_path):
    tries(SPACE_ID="someone/space")
    record = tmp_path / "lab" / "downloads.json"
    assert json.loads(record.read_text())["model some/public"] == COMMIT
    record.write_text(record.read_text().replace(COMMIT, "b" * 40))
    result = tries("unreachable", SPACE_ID="someone/space")
    assert refused(result["models"]["public"])
    assert not result["at hand"]["public"]


def test_a_download_that_was_broken_off_goes_on_where_it_was(files, tmp_path):
    whole = in_shards(files, tmp_path)
    beside = {
        "model.fp16.safetensors": b"x",
        "adapter_model.safetensors": b"x",
        "pytorch_model.bin": b"x",
        "a.py": b"x",
    }
    toy = ToyHub({}, models={"some/sharded": whole | beside})
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "LAB_CACHE_DIR": str(tmp_path / "lab")}
    outcomes = []
    with serving_hub(toy) as address:
        for at_most in (1, len(whole) - 3, len(whole) - 1, len(whole), len(whole)):
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", DOWNLOADS, str(at_most)],
                env={**environment, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"},
                cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            outcomes.append(json.loads(done.stdout))
    parts = [hashlib.sha256(whole[name]).hexdigest() for name in sorted(whole) if name.endswith(".safetensors")]
    digest = hashlib.sha256("".join(parts).encode()).hexdigest()
    # Stopped after the first file, before the index and between two shards; then complete, and once more.
    assert outcomes == [*[["stopped", False]] * 3, ["Hub", digest], ["Hub cache", digest]]
    fetched = [line.rpartition("/")[2] for line in toy.requests if line.startswith("GET") and "/resolve/" in line]
    assert sorted(fetched) == sorted(whole), "each file once, and nothing that lies beside them"


def test_what_came_without_a_token_is_served_without_the_hub(tries):
    tries(SPACE_ID="someone/space")
    result = tries("unreachable", SPACE_ID="someone/space")
    assert (result["models"]["public"], result["datasets"]["public"]) == ("Hub cache", 20)
    assert result["at hand"] == {"public": True, "private": False, "gated": False}


def test_what_the_host_lists_is_for_everybody(tries):
    lists = {"SPACE_ID": "someone/space", "LAB_HOST_REPOS": "some/private, rows/gated"}
    for arguments in ((), ("unreachable",)):
        result = tries(*arguments, **lists)
        assert result["models"]["private"] in ("Hub", "Hub cache")
        assert result["datasets"]["gated"] == 20
        assert refused(result["models"]["gated"])
        assert refused(result["datasets"]["private"])


@pytest.mark.parametrize("environment", STRANGERS)
def test_a_visitor_gets_what_the_hub_gives_to_anyone(tries, toy, environment):
    result = tries(**environment)
    assert (result["models"]["public"], result["datasets"]["public"]) == ("Hub", 20)
    for part, owner in (("models", "some"), ("datasets", "rows")):
        assert refused(result[part]["private"])
        assert f"The Hub has no {owner}/private (or it is private)" in result[part]["private"]
        assert refused(result[part]["gated"])
        assert "LAB_HOST_REPOS" in result[part]["gated"]
    assert toy.tokens == {None}, "the host's token has not left the machine"
