"""A visitor reads no private or gated Hub repository of the host, neither with the host's token nor from the cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_hub import TOKEN, ToyHub, serving_hub

from instruct_tune.pretrained.tiny_random import make_tiny_model

# Each test starts processes that import torch, which takes seconds.
pytestmark = pytest.mark.slow

ROWS = "".join(json.dumps({"instruction": f"Do {n}", "output": f"Done {n}"}) + "\n" for n in range(20)).encode()
KINDS = ("public", "private", "gated")

# Runs in its own process, since the Hub's client reads address and token when it is imported.
TRIES = """
import json, sys
from instruct_tune.data.splits import load_splits
from instruct_tune.errors import LabError
from instruct_tune.pretrained import hub
from instruct_tune.pretrained.locate import at_hand, locate
from instruct_tune.config.run_config import DataSettings

if "unreachable" in sys.argv:
    hub.hub_reachable = lambda: False

def tried(get):
    try:
        return get()
    except LabError as error:
        return f"{error.kind}: {error}"

kinds = ("public", "private", "gated")
print(json.dumps({
    "models": {kind: tried(lambda: locate(f"some/{kind}", lambda text: None).source) for kind in kinds},
    "datasets": {k: tried(lambda: load_splits(DataSettings(source=f"hub:rows/{k}")).rows_loaded) for k in kinds},
    "at hand": {kind: at_hand(f"some/{kind}") is not None for kind in kinds},
}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make_tiny_model(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def toy(files):
    return ToyHub(
        {f"rows/{kind}": {"train.jsonl": ROWS, "README.md": b"---\nlicense: mit\n---\n"} for kind in KINDS},
        models={f"some/{kind}": files for kind in KINDS},
        private=("some/private", "rows/private"),
        gated=("some/gated", "rows/gated"),
    )


@pytest.fixture
def tries(toy, tmp_path):
    """Loads each repository in a lab with these environment variables; its caches persist between calls."""

    def tries(*arguments, **environment):
        with serving_hub(toy) as address:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", TRIES, *arguments],
                env={
                    **os.environ,
                    "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0",
                    "LAB_CACHE_DIR": str(tmp_path / "lab"), "HF_TOKEN": TOKEN,
                    **environment,
                },
                cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return tries


STRANGERS = [{"SPACE_ID": "someone/space"}, {"LAB_ADMIN_TOKEN": "the host's secret"}]


def refused(message):
    return isinstance(message, str) and message.startswith("unreachable: ")


@pytest.mark.nightly
def test_alone_the_hosts_token_serves_the_host(tries, toy):
    results = tries()
    assert results["models"] == dict.fromkeys(KINDS, "Hub")
    assert results["datasets"] == dict.fromkeys(KINDS, 20)
    assert toy.tokens == {f"Bearer {TOKEN}", None} or toy.tokens == {f"Bearer {TOKEN}"}
    assert tries("unreachable")["models"] == dict.fromkeys(KINDS, "Hub cache")


def test_a_visitor_gets_nothing_of_the_hosts_own_from_the_cache(tries, toy):
    tries()  # the host alone, with every repository
    toy.tokens.clear()
    # First without the Hub: a lab that reaches it records what is public.
    for arguments in (("unreachable",), ()):
        results = tries(*arguments, SPACE_ID="someone/space")
        for part in ("models", "datasets"):
            assert refused(results[part]["private"])
            assert refused(results[part]["gated"])
        assert not results["at hand"]["private"]
        assert not results["at hand"]["gated"]
        # Without the Hub it is not known whether a copy that came with the token is public.
        public = results["models"]["public"]
        assert refused(public) if arguments else public == "Hub cache"
        assert toy.tokens <= {None}


@pytest.mark.nightly
def test_a_repository_that_was_made_private_is_not_served_any_more(tries, toy):
    tries(SPACE_ID="someone/space")
    toy.private += ("some/public", "rows/public")
    results = tries(SPACE_ID="someone/space")
    assert refused(results["models"]["public"])
    assert refused(results["datasets"]["public"])


# An interrupted download


DOWNLOADS = """
import json, sys
from instruct_tune.errors import Stopped
from instruct_tune.pretrained import hub
from instruct_tune.pretrained.locate import at_hand, locate

download, left = hub.download, int(sys.argv[1])

def stopping(repo, name, loading, **which):
    global left
    if not left:
        raise Stopped
    left -= 1
    return download(repo, name, loading, **which)

hub.download = stopping
try:
    found = locate("some/sharded", lambda text: None)
    print(json.dumps([found.source, found.sha256]))
except Stopped:
    print(json.dumps(["stopped", at_hand("some/sharded") is not None]))
"""


def in_shards(files, folder):
    from safetensors.torch import load, save

    tensors = load(files["model.safetensors"])
    places = {key: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, key in enumerate(sorted(tensors))}
    shards = {
        shard: save({key: tensors[key] for key in tensors if places[key] == shard}, {"format": "pt"})
        for shard in set(places.values())
    }
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": places}).encode()
    rest = {name: content for name, content in files.items() if name != "model.safetensors"}
    return {**rest, **shards, "model.safetensors.index.json": index}
