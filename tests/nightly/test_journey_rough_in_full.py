"""Rough treatment: every button clicked twice in quick succession, windows closed, a server killed and restarted."""

from __future__ import annotations

import json
import time
from contextlib import closing

import pytest
from browser import Server, Window, started
from gradio_client import Client

from instruct_tune.store.run_store import RunStore

TABS = ("Data", "Format", "Train", "Compare", "Evaluate", "Runs", "Experiments")
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


def test_a_run_outlives_refreshes_windows_and_its_server(server: Server, browser):
    window = Window(browser, server.address)
    start_long(window, "survivor", 600)
    window.again()
    window.tab("Train")
    window.wait_text("#train-status", "running")
    other = Window(browser, server.address)
    other.tab("Train")
    other.wait_text("#train-status", "running")
    other.page.click("#train-stop")
    for each in (other, window):
        assert "the adapter is kept" in each.wait_text("#train-status", "Stopped")
    window.page.click("#train-resume")
    other.wait_text("#train-status", "running")
    # Closing the window that resumed the run does not stop it.
    other.close()
    shown = window.page.locator("#train-status")
    before = shown.inner_text()
    window.page.wait_for_function("before => document.querySelector('#train-status').innerText !== before", arg=before)

    server.kill()
    window.page.wait_for_timeout(3000)
    window.shot("server-killed")
    assert window.page.locator("#train-status").is_visible()
    server.start()
    # The page comes back by itself as if newly opened, and lists the run.
    window.wait_text("#strip", "survivor: interrupted", 30)
    window.tab("Train")
    assert "can be resumed" in window.wait_text("#train-status", "interrupted")
    window.shot("server-back")
    window.page.click("#train-resume")
    window.wait_text("#train-status", "running")
    assert "step 600 of 600" in window.wait_text("#train-status", "finished", 120)
    window.shot("server-finished")
    window.tab("Compare")
    window.wait_text("#compare-state", "asks base and tuned")
    window.page.wait_for_selector("#compare-ask:enabled")
    window.page.click("#compare-ask")
    window.wait_text("#compare-state", "Done")
    assert "tokens in" in window.text("#compare-tuned-facts")
    window.close()


def test_what_was_requested_outlives_a_window_closed_at_any_stage(server: Server, browser, tmp_path):
    """While a run is queued, loads or trains; while rows are uploaded; while an evaluation runs."""
    script = Client(server.address, verbose=False)

    def run_named(name: str) -> dict | None:
        runs = script.predict(api_name="/list_runs")["runs"]
        return next((run for run in runs if run["name"] == name), None)

    uploading = Window(browser, server.address)
    large = tmp_path / "large.json"
    large.write_text(json.dumps([{"instruction": f"Say {n}", "output": "x" * 1000} for n in range(40_000)]))
    with uploading.page.expect_request(lambda request: "upload" in request.url):
        uploading.page.set_input_files("#data-upload input[type=file]", str(large))
    uploading.close()

    training = Window(browser, server.address)
    start_long(training, "left while it trains", 600)
    waiting = Window(browser, server.address)
    waiting.preset("smoke")
    waiting.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")
    waiting.page.fill("#run-name input, #run-name textarea", "left in the line")
    waiting.page.click("#train-start")
    waiting.wait_text("#train-status", "queued")
    waiting.close()
    training.close()
    for name, steps in (("left while it trains", 600), ("left in the line", 4)):
        until(lambda name=name: run_named(name)["status"] == "finished", f"the run {name}", 120)
        assert run_named(name)["step"] == steps

    loading = Window(browser, server.address)
    loading.preset("smoke")
    loading.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")
    loading.page.fill("#run-name input, #run-name textarea", "left as it began")
    loading.page.click("#train-start")
    until(lambda: run_named("left as it began") is not None, "the run that was started")
    loading.close()
    until(lambda: run_named("left as it began")["status"] == "finished", "the run that was left as it began")

    evaluating = Window(browser, server.address)
    evaluating.tab("Evaluate")
    evaluating.page.wait_for_function(
        "document.querySelector('#evaluate-run input').value.includes('left as it began')"
    )
    evaluating.page.fill("#evaluate-limit input", "20")
    with evaluating.page.expect_response(lambda response: "queue/join" in response.url):
        evaluating.page.click("#evaluate-start")
    evaluating.close()
    with closing(RunStore(server.data_dir)) as store:
        until(lambda: store.evaluations(run_named("left as it began")["id"]), "the evaluation")


def test_every_button_of_every_tab_twice(server, browser):
    window = Window(browser, server.address)
    window.preset("smoke")
    for tab in TABS:
        window.tab(tab)
        window.page.wait_for_timeout(1500)
        assert window.page.evaluate(PRESS_TWICE, tab) > 0
        window.page.wait_for_timeout(2500)
    # The page still works after a reload.
    window.page.reload()
    window.page.wait_for_selector("#data-load")
    window.tab("Data")
    window.page.click("#data-load")
    window.wait_text("#data-summary", "held out")
    window.close()
