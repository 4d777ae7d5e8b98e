"""A visitor who signed in reads what is theirs on the Hub by their own token, and nobody else gets it from the lab."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_access import KINDS, ROWS
from toy_hub import TOKEN, ToyHub, serving_hub

from instruct_tune.pretrained.tiny_random import make_tiny_model

# The process that the tests look at imports torch, which takes seconds.
pytestmark = pytest.mark.slow

ANN, BOB, CARL = "hf_oauth_of_ann", "hf_oauth_of_bob", "hf_oauth_of_carl"
"""Ann may read everything, Bob nothing, and Carl's sign-in has no scope."""
HOSTED = {
    "SPACE_ID": "someone/space", "SYSTEM": "spaces", "OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": "secret",
    "OAUTH_SCOPES": "openid profile read-repos", "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
}  # fmt: skip

# Runs in its own process, since the Hub's client reads address and token when it is imported.
SCRIPT = """
import json, logging, pickle, sys, time
from pathlib import Path
from instruct_tune.config.run_config import DataSettings, RunConfig
from instruct_tune.config.viewer import ANONYMOUS, HOST, known_by
from instruct_tune.errors import LabError
from instruct_tune.lab import Lab
from instruct_tune.pretrained import hub, hub_access
from instruct_tune.pretrained.hub_token import HubToken, acting_for
from instruct_tune.pretrained.locate import at_hand, locate

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
lab = Lab(Path(sys.argv[1]))
kinds = ("public", "private", "gated")
people = {
    name: (known_by(f"the browser of {name}").signed_in(name), HubToken(f"hf_oauth_of_{name}", expires))
    for name, expires in {"ann": time.time() + 3600, "bob": None, "carl": None, "late": time.time() - 1}.items()
} | {"nobody": (known_by("the browser of a visitor"), None), "host": (HOST, None)}

def tried(get):
    try:
        return get()
    except LabError as error:
        return f"{error.kind}: {error}"

def smoke(kind):
    train = {"num_train_epochs": 1, "max_steps": 2, "probes": 0}
    data = {"source": f"hub:rows/{kind}", "limit": 8}
    return RunConfig.from_dict({"model": f"some/{kind}", "data": data, "train": train}, "smoke")

def looks(name):
    viewer, token = people[name]
    def on_queue(model):
        return lab.queue.run(lambda: lab.models.base(model, "auto", lambda text: None).weights.source)
    with acting_for(token):
        return {
            kind: {
                "files": tried(lambda: locate(f"some/{kind}", lambda text: None).source),
                "at hand": at_hand(f"some/{kind}") is not None,
                "rows": tried(lambda: lab.datasets.preview(viewer, smoke(kind))["rows_loaded"]),
                "loaded rows": tried(lambda: loading(viewer, smoke(kind)).model),
                "rows in memory": lab.datasets.has_rows(viewer, smoke(kind)),
                "mask": tried(lambda: len(lab.datasets.mask(viewer, smoke(kind), "Hi")["tokens"]) > 0),
                "cost": lab.estimates.cost(viewer, smoke(kind))["unknown"] is None,
                "model in memory": tried(lambda: on_queue(f"some/{kind}")),
                "length filter": tried(lambda: lab.datasets.preview(viewer, counted(kind))["train_rows"]),
            }
            for kind in kinds
        }

def loading(viewer, config):
    return lab.datasets.start_loading(viewer, config, hub.Loading()).result()

def counted(kind):
    filters = [{"step": "length", "unit": "tokens", "tokenizer": f"some/{kind}", "max": 500}]
    return RunConfig.from_dict({"data": {"source": "bundled", "filters": filters}}, "smoke")

def trains(name, kind):
    viewer, token = people[name]
    with acting_for(token):
        run_id = lab.training.start(viewer, smoke(kind), f"{name} on {kind}")
    run = lab.training.wait(run_id, 200)
    return {"id": run_id, "status": run.status, "message": run.message, "private": run.owner is not None}

def uses(name, run_id, to):
    viewer, token = people[name]
    with acting_for(token):
        return {
            "answer": tried(lambda: list(lab.inference.compare(viewer, run_id, "Hi"))[-1]["done"]),
            "held-out row": tried(lambda: lab.answerers.held_out_row(viewer, run_id, 0).output[:4]),
            "evaluation": tried(lambda: bool(list(lab.evaluations.stream(viewer, run_id, 2)))),
            "merged": tried(lambda: lab.transfers.export_merged(viewer, run_id, to / f"{name}.zip").exists()),
        }

results = {"before": looks("nobody"), "looks": {}, "runs": {}}
for name in ("ann", "bob", "carl", "late", "nobody", "ann"):
    results["looks"][name] = looks(name)
for name, kind in (("ann", "private"), ("ann", "gated"), ("ann", "public"), ("bob", "private"), ("late", "private")):
    results["runs"][f"{name} {kind}"] = trains(name, kind)
run_id = results["runs"]["ann private"]["id"]
visible = lambda name: lab.runs.is_visible(people[name][0], run_id)
results["seen by"] = [name for name in people if visible(name)]
to = Path(sys.argv[1]).parent
results["ann uses"] = uses("ann", run_id, to)
lab.runs.share(people["ann"][0], run_id, True)
results["shared to"] = [name for name in people if visible(name)]
results["bob uses"], results["nobody uses"] = uses("bob", run_id, to), uses("nobody", run_id, to)
lab.runs.share(people["ann"][0], run_id, False)
results["taken back from"] = [name for name in people if not visible(name)]
try:
    pickle.dumps(people["ann"][1])
except TypeError as error:
    results["pickled"] = str(error)
results["shown"] = repr(people["ann"])
lab.close()
for known in (hub_access._came_by_token, hub_access._granted, hub_access._public):
    known.clear()
lab = Lab(Path(sys.argv[1]))
def in_memory(name, kind):
    base = lambda: lab.models.base(f"some/{kind}", "auto", lambda text: None).weights.source
    with acting_for(people[name][1]):
        return {"model in memory": tried(lambda: lab.queue.run(base))}
results["restarted"] = {
    kind: {name: in_memory(name, kind) for name in ("ann", "bob", "nobody")} for kind in kinds
}
hub_access._public.clear()
hub.hub_reachable = lambda: False
results["unreachable"] = {"bob": looks("bob"), "nobody": looks("nobody")}
lab.close()
Path(sys.argv[2]).write_text(json.dumps(results))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """(results, the tokens that the Hub got, stderr, the folder with all that was written)."""
    made, folder = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("sign-in")
    make_tiny_model(made)
    files = {file.name: file.read_bytes() for file in made.iterdir()}
    closed = tuple(f"{owner}/{kind}" for owner in ("some", "rows") for kind in ("private", "gated"))
    toy = ToyHub(
        {f"rows/{kind}": {"train.jsonl": ROWS, "README.md": b"---\nlicense: mit\n---\n"} for kind in KINDS},
        models={f"some/{kind}": files for kind in KINDS},
        private=("some/private", "rows/private"),
        gated=("some/gated", "rows/gated"),
        readers={ANN: closed, BOB: ()},
        unscoped=(CARL,),
    )
    with serving_hub(toy) as address:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder / "data"), str(folder / "results.json")],
            env={
                **os.environ, **HOSTED,
                "HF_ENDPOINT": address, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN,
                "LAB_CACHE_DIR": str(folder / "lab"), "TMPDIR": str(folder),
            },
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=500,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads((folder / "results.json").read_text()), toy, done.stderr + done.stdout, folder


def refused(value) -> bool:
    return value is False or (isinstance(value, str) and value.startswith("unreachable: "))


def test_who_signed_in_reads_what_is_theirs(outcome):
    results = outcome[0]
    for kind in KINDS:
        look = results["looks"]["ann"][kind]
        assert look["files"] in ("Hub", "Hub cache")
        assert (look["rows"], look["loaded rows"]) == (20, f"some/{kind}")
        assert look["at hand"]
        assert look["mask"]
        assert look["rows in memory"]
        assert look["cost"]
        assert look["model in memory"] == "Hub cache"
        assert look["length filter"] > 0
    assert results["runs"]["ann private"]["status"] == results["runs"]["ann gated"]["status"] == "finished"
    assert results["ann uses"] == {"answer": True, "held-out row": "Done", "evaluation": True, "merged": True}


@pytest.mark.parametrize("name", ["bob", "carl", "late", "nobody"])
@pytest.mark.parametrize("kind", ["private", "gated"])
def test_nobody_else_gets_it_on_any_road(outcome, name, kind):
    for look in [outcome[0]["looks"][name][kind], *([outcome[0]["before"][kind]] if name == "nobody" else [])]:
        assert {road: value for road, value in look.items() if not refused(value)} == {}


def test_nobody_else_gets_it_after_a_restart_that_kept_the_files(outcome):
    """Then it comes from the disk into memory, for who may read it, and no token fetched it."""
    for kind in ("private", "gated"):
        looks = outcome[0]["restarted"][kind]
        assert looks["ann"]["model in memory"] == "Hub cache"
        assert refused(looks["bob"]["model in memory"])
        assert refused(looks["nobody"]["model in memory"])


def test_nobody_else_gets_it_while_the_hub_is_out_of_reach(outcome):
    for name in ("bob", "nobody"):
        for kind in ("private", "gated"):
            look = outcome[0]["unreachable"][name][kind]
            assert {road: value for road, value in look.items() if not refused(value)} == {}


def test_the_public_stays_everybodys(outcome):
    for name in ("bob", "carl", "late", "nobody"):
        look = outcome[0]["looks"][name]["public"]
        assert (look["files"], look["rows"], look["mask"], look["model in memory"]) == (
            "Hub cache",
            20,
            True,
            "Hub cache",
        )
    assert not outcome[0]["runs"]["ann public"]["private"]


def test_a_token_is_used_for_what_is_not_public_alone(outcome):
    toy = outcome[1]
    assert toy.tokens >= {None, f"Bearer {ANN}", f"Bearer {BOB}", f"Bearer {CARL}"}
    assert f"Bearer {TOKEN}" not in toy.tokens, "the host's"
    assert "Bearer hf_oauth_of_late" not in toy.tokens, "it has expired"
    recorded = json.loads((outcome[3] / "lab" / "downloads.json").read_text())
    assert set(recorded) == {"model some/public", "dataset rows/public"}


def test_each_fault_is_one_sentence_with_what_to_do(outcome):
    looks = outcome[0]["looks"]
    for road in ("files", "rows", "mask", "model in memory"):
        assert looks["late"]["private"][road] == "unreachable: Your Hugging Face sign-in has expired: sign in again."
        assert "does not let this lab read" in looks["carl"]["private"][road]
        assert "The Hub shows your account no " in looks["bob"]["private"][road]
        assert "accept its terms on its page as the account you signed in with" in looks["bob"]["gated"][road]
        assert "sign in at the foot of the page" in looks["nobody"]["private"][road]
        assert "sign in at the foot of the page" in looks["nobody"]["gated"][road]


def test_a_run_on_what_is_not_public_is_its_persons_until_they_share_it(outcome):
    results = outcome[0]
    assert results["runs"]["ann private"]["private"]
    assert results["runs"]["ann gated"]["private"]
    assert results["seen by"] == ["ann", "host"]
    assert set(results["shared to"]) == {"ann", "bob", "carl", "late", "nobody", "host"}
    assert results["taken back from"] == ["bob", "carl", "late", "nobody"]


def test_who_sees_a_shared_run_gets_neither_its_model_nor_its_rows(outcome):
    for name in ("bob", "nobody"):
        assert {road: value for road, value in outcome[0][f"{name} uses"].items() if not refused(value)} == {}


def test_a_run_that_may_not_read_its_data_says_so(outcome):
    runs = outcome[0]["runs"]
    assert runs["bob private"]["status"] == runs["late private"]["status"] == "failed"
    assert "The Hub shows your account no rows/private" in runs["bob private"]["message"]
    assert runs["late private"]["message"] == "Your Hugging Face sign-in has expired: sign in again."


def test_no_token_is_written_anywhere(outcome):
    results, _, log, folder = outcome
    written = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.name == "lab.sqlite" or file.suffix in (".db", ".sqlite", ".sqlite3") for file in written)
    for token in (ANN, BOB, CARL):
        assert token not in log
        assert [str(file) for file in written if token.encode() in file.read_bytes()] == []
    assert results["pickled"] == "A visitor's token is never pickled."
    assert "hf_oauth" not in results["shown"]
