"""The API endpoints, used as a script uses them."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from contextlib import closing

import pytest
from browser import ROOT, serving

from instruct_tune.data.sources import BUNDLED_FILE

pytestmark = pytest.mark.slow

ENDPOINTS = {
    "/dataset_preview": 3, "/mask": 4, "/start_run": 2, "/continue_run": 3, "/run_status": 1, "/run_metrics": 2,
    "/stop_run": 2, "/compare": 4, "/compare_many": 4, "/evaluate": 2, "/evaluate_with": 5,
    "/list_runs": 0, "/script": 3, "/push_run": 6, "/run_page": 2,
    "/job_prices": 1, "/start_job": 6, "/follow_job": 2, "/cancel_job": 2, "/list_jobs": 0,
}  # fmt: skip
"""Endpoint → number of parameters. A plain POST sends all of them, so one more would break people's scripts."""
SMOKE = {
    "model": "tiny-random",
    "data": {"limit": 16},
    "train": {"per_device_train_batch_size": 4, "probe_rows": 4, "probes": 2},
    "generation": {"max_new_tokens": 8},
    "evaluation_rows": 4,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from gradio_client import Client

    with serving(tmp_path_factory.mktemp("api") / "data") as address:
        yield Client(address, verbose=False)


def finished(client, run_id: str) -> dict:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        status = client.predict(run_id, api_name="/run_status")
        if status["status"] not in ("queued", "running", "stopping"):
            return status
        time.sleep(0.2)
    raise AssertionError(status)


def test_nothing_but_the_endpoints_is_public(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert {name: len(endpoint["parameters"]) for name, endpoint in endpoints.items()} == ENDPOINTS


def test_a_run_is_trained_further(client):
    parent = client.predict(SMOKE, "first", api_name="/start_run")["run_id"]
    assert finished(client, parent)["status"] == "finished"
    child = client.predict(parent, SMOKE, "second", api_name="/continue_run")["run_id"]
    assert finished(client, child)["status"] == "finished"
    runs = {run["id"]: run for run in client.predict(api_name="/list_runs")["runs"]}
    assert runs[child]["parent"] == parent


def test_a_script_trains_compares_and_evaluates(client):
    preview = client.predict({}, 3, 0, api_name="/dataset_preview")
    assert (preview["rows_loaded"], len(preview["rows"])) == (len(BUNDLED_FILE.read_text("utf-8").splitlines()), 3)
    mask = client.predict(SMOKE, "Add 1", "", "2", api_name="/mask")
    assert mask["supervised"] == 2

    run_id = client.predict(SMOKE, "by script", api_name="/start_run")["run_id"]
    assert finished(client, run_id)["status"] == "finished"
    metrics = client.predict(run_id, 0, api_name="/run_metrics")["metrics"]
    assert [m["step"] for m in metrics if m["kind"] == "train"] == [1, 2, 3, 4]
    assert "\nLAB_FINGERPRINT = " in client.predict(run_id, {}, "py", api_name="/script")["text"]
    assert json.loads(client.predict("", SMOKE, "ipynb", api_name="/script")["text"])["nbformat"] == 4
    assert client.predict(run_id, metrics[-1]["seq"], api_name="/run_metrics")["metrics"] == []

    grown = list(client.submit(run_id, "Say hi", "", {}, api_name="/compare"))
    assert grown[-1]["done"]
    assert grown[-1]["tuned"].startswith(grown[0]["tuned"])
    speakers = [{"run_id": "base"}, {"run_id": run_id}, {"run_id": run_id, "step": 4, "strength": 0.5}]
    *_, many = client.submit(speakers, "Say hi", "", {}, api_name="/compare_many")
    assert many["texts"][:2] == [grown[-1]["base"], grown[-1]["tuned"]]
    assert (len(many["texts"]), many["tokens"], many["done"]) == (3, [8, 8, 8], True)
    evaluation = list(client.submit(run_id, 3, api_name="/evaluate"))[-1]
    assert evaluation["rows"] == 3
    assert client.predict(api_name="/list_runs")["runs"][0]["name"] == "by script"


@pytest.mark.nightly
def test_no_comparison_outlives_its_reader(client):
    run_id = client.predict(SMOKE, "answers", api_name="/start_run")["run_id"]
    assert finished(client, run_id)["status"] == "finished"

    def ask(tokens: int):
        body = json.dumps({"data": [run_id, "Hi", "", {"max_new_tokens": tokens}]}).encode()
        url = f"{client.src.rstrip('/')}/gradio_api/call/compare"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return urllib.request.urlopen(f"{url}/{json.load(answer)['event_id']}", timeout=300)

    def seconds(stream) -> float:
        began = time.monotonic()
        with closing(stream):
            stream.read()
        return time.monotonic() - began

    whole = seconds(ask(1500))
    assert whole > 2, "or the next says nothing"
    with closing(ask(1500)) as stream:
        assert b"generating" in stream.readline()
    assert seconds(ask(2)) < whole / 2


def test_the_documented_script_does_what_it_says(client, capsys):
    document = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    script = next(
        block for block in re.findall(r"```python\n(.*?)```", document, re.DOTALL) if "gradio_client" in block
    )
    exec(script.replace("http://127.0.0.1:7860", client.src), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("stopped Stopped at step")
    assert "'done': True" in lines[-1]


@pytest.mark.nightly
def test_a_script_has_private_runs_and_may_not_have_others(tmp_path):
    """The ``x-lab-visitor`` header alone identifies the owner."""
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    with serving(tmp_path / "data", SPACE_ID="somebody/lab") as address:
        ann, bob, nobody = (
            Client(address, verbose=False, headers=headers)
            for headers in ({"x-lab-visitor": "ann's own secret"}, {"x-lab-visitor": "bob's own secret"}, {})
        )
        run_id = ann.predict(SMOKE, "ann's", api_name="/start_run")["run_id"]
        for other in (bob, nobody):
            assert other.predict(run_id, api_name="/run_status")["status"]
            with pytest.raises(AppError, match="somebody else"):
                other.predict(run_id, True, api_name="/stop_run")
        assert ann.predict(run_id, True, api_name="/stop_run")["status"]
        with pytest.raises(AppError, match="16 to 200"):
            Client(address, verbose=False, headers={"x-lab-visitor": "short"}).predict(api_name="/list_runs")


def test_a_run_is_stopped(client):
    long = {**SMOKE, "train": {**SMOKE["train"], "num_train_epochs": 1000}}
    run_id = client.predict(long, "", api_name="/start_run")["run_id"]
    while not client.predict(run_id, api_name="/run_status")["step"]:
        time.sleep(0.1)
    assert client.predict(run_id, True, api_name="/stop_run")["status"] == "stopping"
    assert finished(client, run_id)["status"] == "stopped"


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/start_run", ["not an object", ""], "config must be"),
        ("/start_run", [{"lora": {"r": 0}, "train": {"learning_rate": -1}}, ""], "lora.r"),
        ("/run_status", ["../../etc/passwd"], "There is no run"),
        ("/run_metrics", ["nobody", 0], "There is no run"),
        ("/compare", ["nobody", "x", "", {}], "There is no run"),
        ("/compare_many", ["nobody", "x", "", {}], "Name 2 or 3"),
        ("/dataset_preview", [{"data": {"source": "/nowhere.json"}}, 3, 0], "nowhere"),
        ("/dataset_preview", [{}, -1, 0], "rows must be"),
        ("/mask", [SMOKE, 5, "", "x"], "must be a text"),
    ],
)
def test_wrong_arguments_get_a_sentence(client, endpoint, arguments, message):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=message):
        client.predict(*arguments, api_name=endpoint)
