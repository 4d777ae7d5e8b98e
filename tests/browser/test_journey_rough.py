"""Rough treatment: every button clicked twice in quick succession, windows closed, a server killed and restarted."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import closing

import pytest
from browser import Server, Window, started
from gradio_client import Client

pytestmark = pytest.mark.slow

TABS = ("Data", "Format", "Train", "Compare", "Evaluate", "Runs")
PRESS_TWICE = """tab => {
    const panel = [...document.querySelectorAll('[role=tabpanel]')].find(each => each.offsetParent !== null);
    const buttons = [...panel.querySelectorAll('button')].filter(
        each => each.offsetParent !== null && !each.disabled && !each.id.endsWith('-next'));
    buttons.forEach(each => { each.click(); each.click(); });
    return buttons.length;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # ``started`` fails where the server's log holds a traceback.
    with started(tmp_path_factory.mktemp("rough") / "data") as server:
        yield server


def start_long(window: Window, name: str, steps: int) -> None:
    window.preset("smoke")
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")
    window.more_settings("Optimisation")
    window.page.get_by_label("Most steps").fill(str(steps))
    window.page.get_by_label("Epochs", exact=True).fill("1000")
    window.page.fill("#run-name input, #run-name textarea", name)
    window.page.click("#train-start")
    window.wait_text("#strip", f"{name}: running, step")


def until(true, what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def test_no_comparison_outlives_its_reader(server: Server):
    script = Client(server.address, verbose=False)
    config = {"model": "tiny-random", "data": {"limit": 8}, "train": {"num_train_epochs": 1}}
    run_id = script.predict(config, "answers", api_name="/start_run")["run_id"]
    until(lambda: script.predict(run_id, api_name="/run_status")["status"] == "finished", "the run")

    def ask(tokens: int):
        body = json.dumps({"data": [run_id, "Hi", "", {"max_new_tokens": tokens}]}).encode()
        url = f"{server.address}/gradio_api/call/compare"
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
