"""Hostile requests to a public lab: every endpoint and every handler gets values that it does not expect."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from browser import PATIENCE, serving

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import known_by
from instruct_tune.store.run_store import RunStore

pytestmark = pytest.mark.slow

ENDPOINTS = {
    "dataset_preview": 3, "mask": 4, "start_run": 2, "continue_run": 3, "run_status": 1, "run_metrics": 2,
    "stop_run": 2, "compare": 4, "evaluate": 2, "list_runs": 0, "script": 3, "run_page": 2, "preview_data": 3,
    "show_mask": 5, "train_a_minute": 5, "training_status": 1, "compare_answers": 3,
}  # fmt: skip
PRIVATE = "ann's secret plan"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(address, id of Ann's private run, its folder)."""
    data_dir = tmp_path_factory.mktemp("hostile") / "data"
    store = RunStore(data_dir)
    config = RunConfig.from_dict({}, "smoke").to_dict()
    run = store.create(PRIVATE, config, known_by("ann's own secret").id, known_by("ann's own secret").id)
    store.update(run.id, status="finished", ended=time.time())
    store.add_event(run.id, PRIVATE)
    store.close()
    with serving(data_dir, faults_are_logged=True, SPACE_ID="somebody/lab") as address:
        yield address, run.id, data_dir


def ask(address: str, path: str, body: object = None, seconds: float = PATIENCE) -> tuple[int, str]:
    """Status and text of a response; a stream is read to its end or to the end of its job."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/gradio_api/{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            text = ""
            for line in answer:
                text += line.decode("utf-8", "replace")
                if '"process_completed"' in text or '"close_stream"' in text:
                    break
            return answer.status, text
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def fine(text: str) -> bool:
    """Whether a response reveals neither the lab's internals nor another visitor's run."""
    return not any(word in text for word in ("Traceback", "site-packages", 'File \\"', 'File "', PRIVATE))


def hostile(run_id: str, count: int) -> list[list[object]]:
    """Lists of input values for a handler that takes ``wanted`` inputs, and two of a wrong length."""
    values: list[object] = [
        None, "", "../../../../etc/passwd", run_id, f"../runs/{run_id}", "\ud800", "\0", "x" * 200_000,
        -1, 2**70, 1e308, True, [], ["a"], {}, {"path": "/etc/passwd"}, {"__type__": "update", "value": 1},
        {"data": {"source": "/etc/passwd"}, "model": "/etc"}, {"train": {"learning_rate": "1" * 5000}},
    ]  # fmt: skip
    return [[value] * count for value in values] + [[], [None] * (count + 3)]


def at_once(attack: Callable[[Any], None], targets: Iterable[Any]) -> None:
    """Run six attacks at a time: a queued request mostly waits and computes little."""
    with ThreadPoolExecutor(6) as crowd:
        list(crowd.map(attack, targets))


def test_every_endpoint_answers_with_a_sentence(lab):
    attack_endpoints(lab, every=6)


def attack_endpoints(lab, every):
    """Post hostile values to every endpoint: every ``every``-th one, and its neighbours the others."""
    address, run_id, _ = lab

    def attack(numbered: tuple[int, str]) -> None:
        number, name = numbered
        for values in hostile(run_id, ENDPOINTS[name])[number % every :: every]:
            status, text = ask(address, f"call/{name}", {"data": values})
            if status == 200:
                status, text = ask(address, f"call/{name}/{json.loads(text)['event_id']}")
            assert fine(text), (name, values, text[:500])
        for body in ([], "text", 5, {"data": "text"}, {"nothing": 1}, {"data": None}):
            assert fine(ask(address, f"call/{name}", body)[1]), (name, body)

    at_once(attack, enumerate(ENDPOINTS))
    assert ask(address, "call/list_runs", {"data": []})[0] == 200


@pytest.mark.nightly
def test_a_sample_of_the_handlers_survives_and_no_poll_raises(lab):
    attack_handlers(lab, every=18)


def attack_handlers(lab, every):
    """Post hostile values to every ``every``-th handler of the page, one after the other."""
    address, run_id, data_dir = lab
    with urllib.request.urlopen(f"{address}/config", timeout=300) as answer:
        handlers = [dependency for dependency in json.load(answer)["dependencies"] if dependency["backend_fn"]]
    assert len(handlers) > 40
    assert any(handler["queue"] is False for handler in handlers)

    def attack(numbered: tuple[int, dict]) -> None:
        number, handler = numbered
        # A queued handler gets every third value, and its neighbours the other thirds: all would take minutes.
        share = slice(None) if handler["queue"] is False else slice(number % 3, None, 3)
        for values in hostile(run_id, len(handler["inputs"]))[share]:
            session = f"hostile{handler['id']}"
            body = {"fn_index": handler["id"], "data": values, "session_hash": session}
            if handler["queue"] is False:
                status, text = ask(address, "run/predict", body)
            else:
                status, text = ask(address, "queue/join", body)
                if status == 200:
                    status, text = ask(address, f"queue/data?session_hash={session}")
            assert fine(text), (handler["id"], handler["targets"], values, text[:500])
            assert status in (200, 400, 422, 500, 503), (handler["id"], status, text[:500])

    at_once(attack, list(enumerate(handlers))[::every])
    # gradio refuses with a bare 500 what no component could send; a value that reaches a poll never raises there.
    assert "a poll failed" not in (data_dir.parent / f"{data_dir.name}.log").read_text()
    status, text = ask(address, "call/list_runs", {"data": []})
    assert status == 200
    assert "runs" in ask(address, f"call/list_runs/{json.loads(text)['event_id']}")[1]


def test_no_file_of_the_lab_is_served(lab):
    address, run_id, data_dir = lab
    uploaded = data_dir / "uploads" / known_by("ann's own secret").id / "mine.json"
    uploaded.parent.mkdir(parents=True)
    uploaded.write_text("[]")
    export = data_dir / "runs" / run_id / "adapter.zip"
    export.write_text("zip")
    for file in (data_dir / "lab.sqlite", data_dir / "browser.json", uploaded, export, Path("/etc/passwd"), __file__):
        for spelt in (str(file), f"/{file}", str(file).replace("/", "%2F"), f"./../..{file}"):
            status, text = ask(address, f"file={spelt}")
            assert status in (403, 404, 400), (spelt, status)
            assert "root:" not in text
    assert ask(address, f"file={sys.executable}")[0] == 403


def test_no_statistics_of_all_visitors_are_served(lab):
    for page in ("monitoring", "monitoring/summary"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{lab[0]}/{page}", timeout=300)
