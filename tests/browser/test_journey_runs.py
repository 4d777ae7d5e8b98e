"""The Runs tab and the recorded runs in a real browser: find, choose, compare, delete and undo, replay."""

from __future__ import annotations

import json
import re
import time

import pytest
from browser import PATIENCE, Window, check, close_windows, serving

from instruct_tune.config.run_config import RunConfig
from instruct_tune.runs.examples import ASSETS
from instruct_tune.store.run import Run
from instruct_tune.store.run_store import RunStore
from instruct_tune.ui.runs.details import _SHOW_SAVED

pytestmark = pytest.mark.slow

RECORDED = 3
OWN = 57
EVIL = "<img src=x onerror=window.hacked=1> ${window.hacked=1}"


def history(data_dir) -> None:
    """Writes a history of many runs: every fifth was interrupted, none has an adapter."""
    store = RunStore(data_dir)
    config = RunConfig.from_dict({}, "smoke").to_dict()
    now = time.time()
    for number in range(OWN):
        status = "interrupted" if number % 5 == 0 else "finished"
        name = EVIL if number == OWN - 1 else f"trial {number:02}"
        metrics = [
            {"kind": "train", "step": step, "epoch": step / 4, "time": now + step, "loss": 5 - step, "seconds": 1.0,
             "tokens": 100, "tokens_per_second": 100.0, "learning_rate": 1e-3}
            for step in range(1, 5)
        ]  # fmt: skip
        run = Run(f"id-{number:02}", name, status, None, "", 4, 4, now - 60 * number, now, config, None, {})
        store.enter(run, metrics=metrics)
        (data_dir / "runs" / run.id).mkdir()
    store.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    data_dir = tmp_path_factory.mktemp("runs") / "data"
    history(data_dir)
    with serving(data_dir) as address:
        yield browser, address
        close_windows(browser)


@pytest.fixture
def window(served):
    browser, address = served
    window = Window(browser, address)
    yield window
    assert window.errors == []
    assert window.page.evaluate("window.hacked") is None
    close_windows(browser)


def enabled(window: Window) -> set[str]:
    """The actions that can be pressed."""
    return {
        name
        for name in ("open", "compare", "clone", "further", "resume", "export", "delete")
        if window.page.locator(f"#runs-{name}").is_enabled()
    }


def wait_enabled(window: Window, names: set[str]) -> None:
    """Wait until exactly these buttons can be pressed: they update a moment after the text beside them."""
    deadline = time.monotonic() + PATIENCE
    while enabled(window) != names:
        assert time.monotonic() < deadline, enabled(window)
        time.sleep(0.05)


def search(window: Window, words: str) -> None:
    window.page.fill("#runs-search input, #runs-search textarea", words)


def choose(window: Window, row: int = 0) -> None:
    window.page.click(f'#runs-table [data-testid="cell-{row}-0"]')
    window.page.wait_for_function("document.querySelector('#runs-table').innerText.includes('▸')")


def test_runs_are_searched_sorted_and_cut_into_pages_by_the_server(window):
    window.tab("Runs")
    count = window.wait_text("#runs-count", f"{OWN + RECORDED} runs")
    assert "Page 1 of 3." in count
    assert re.search(r"\d\.\d MB on disk", count)
    window.wait_text("#runs-table", "trial 00")
    assert "trial 30" not in window.text("#runs-table")
    window.shot("runs-list")
    window.page.click("#runs-on")
    window.wait_text("#runs-count", "Page 2 of 3.")
    window.wait_text("#runs-table", "trial 30")
    search(window, "recorded on")
    window.wait_text("#runs-count", f"{RECORDED} of {OWN + RECORDED} runs")
    window.page.wait_for_function("!document.querySelector('#runs-table').innerText.includes('trial')")
    assert "→" in window.text("#runs-table"), "their BLEU"
    search(window, "no such words")
    window.wait_text("#runs-count", "Nothing holds these words.")
    search(window, "trial")
    window.page.click("#runs-sort input")
    window.page.get_by_role("option", name="Oldest first").click()
    window.page.wait_for_function(
        "document.querySelector('#runs-table [data-testid=\"cell-0-0\"]')?.innerText.includes('trial 55')"
    )


@pytest.mark.nightly
def test_only_what_applies_can_be_pressed(window):
    window.tab("Runs")
    # The newest own run is there without a click, its curve on the first screen beside six rows.
    window.page.set_viewport_size({"width": 1280, "height": 800})
    assert "trial 00" in window.wait_text("#runs-details", "interrupted")
    wait_enabled(window, {"open", "clone", "resume", "delete"})
    for part, top in (('[data-testid="cell-5-0"]', 800), ("#runs-plot .js-plotly-plot", 600), ("#runs-open", 800)):
        assert window.page.wait_for_selector(part).bounding_box()["y"] < top, part
    search(window, "recorded-good")
    window.wait_text("#runs-count", f"1 of {OWN + RECORDED} runs")
    window.page.click('#runs-table [data-testid="cell-0-0"]')
    window.wait_text("#runs-details", "recorded on")
    window.page.wait_for_selector("#runs-plot .js-plotly-plot, #runs-plot .plot-container")
    wait_enabled(window, {"open", "compare", "clone", "further", "export", "delete"})
    window.shot("runs-chosen")
    window.tab("Side by side")
    # All recorded runs, without a choice; then one fewer.
    window.wait_text("#overlay-words", "A good minute")
    window.wait_text("#overlay-table", "train.learning_rate")
    lines = "document.querySelector('#overlay-plot .loss-plot').data.length"
    assert window.page.evaluate(lines) == 2 * RECORDED
    window.page.click("#overlay-runs input")
    window.page.get_by_role("option").filter(has_text="learned by heart").click()
    window.page.wait_for_function(f"{lines} === 4")
    window.page.keyboard.press("Escape")
    window.shot("runs-side-by-side")
    window.tab("Name and notes")
    window.page.fill("#runs-tags input, #runs-tags textarea", " rank 16,, keep ,keep")
    window.page.fill("#runs-notes textarea", EVIL)
    window.page.click("#runs-notes-save")
    window.wait_text("#runs-table", "rank 16, keep")
    typed = "document.querySelector('#runs-tags input, #runs-tags textarea').value"
    window.page.wait_for_function(f"{typed} === 'rank 16, keep'")
    # A save that ends once another run's notes are in the boxes leaves those.
    other, saved = ["of b", "b's", '["b", "b\'s"]'], '["a", null, ["a\'s id", "a"]]'
    assert window.page.evaluate(f"values => ({_SHOW_SAVED})(...values)", [*other, saved]) == other
    with window.page.expect_download() as download:
        window.page.click("#runs-export")
    assert download.value.suggested_filename.endswith(".zip")
    with window.page.expect_download() as download:
        window.page.click("#runs-page")
    assert download.value.suggested_filename == "recorded-good.html"
    window.page.click("#runs-compare")
    window.page.wait_for_function("document.querySelector('#compare-run input')?.value.includes('recorded on')")
    window.tab("Runs")
    window.page.click("#runs-evaluate")
    window.page.wait_for_function("document.querySelector('#evaluate-run input')?.value.includes('recorded on')")


@pytest.mark.nightly
def test_a_deleted_run_is_restored_after_a_refresh_in_another_window(window):
    window.tab("Runs")
    assert not window.page.is_visible("#runs-bin")
    search(window, f"id-{OWN - 1}")
    window.wait_text("#runs-table", "onerror")
    choose(window)
    window.wait_text("#runs-details", "onerror")
    window.page.click("#runs-delete")
    window.wait_text("#runs-count", "Nothing holds these words.")
    window.wait_text("#runs-details", "Click a row")
    wait_enabled(window, set())
    deleted = "document.querySelector('#runs-binned input')?.value"
    window.page.wait_for_function(f"{deleted}.includes('onerror') && {deleted}.includes('min left')")
    window.shot("runs-deleted")
    other = window.page.context.new_page()
    other.goto(window.page.url)
    other.get_by_role("tab", name="Runs", exact=True).click()
    other.get_by_role("tab", name="Trash", exact=True).click()
    other.wait_for_function(f"{deleted}.includes('onerror')")
    other.click("#runs-undo")
    other.wait_for_selector("#runs-details:has-text('onerror')")
    other.wait_for_selector("#runs-bin", state="hidden")
    assert other.evaluate("window.hacked") is None
    window.wait_text("#runs-count", "1 of")
    window.page.wait_for_selector("#runs-bin", state="hidden")


@pytest.mark.nightly
def test_a_visitor_who_has_trained_nothing_watches_a_recorded_run(window):
    # At 1×, so that a slow machine shows its beginning too.
    window.tab("Train")
    check(window.page.get_by_role("radio", name="1×", exact=True))
    window.tab("Data")
    window.page.click("#replay-offer")
    stage = window.wait_text("#replay-stage", "Replay at 1×")
    assert "recorded" in stage
    plot = "document.querySelector('#train-chart .loss-plot')"
    assert window.page.evaluate(f"{plot}.layout.annotations[0].text") == "REPLAY"
    window.wait_text("#train-status", "recorded on")
    drawn = f"{plot}.data[0].x.length"
    whole = json.loads((ASSETS / "good" / "run.json").read_text())["total_steps"]
    early = window.page.evaluate(drawn)
    assert early < whole
    assert window.text("#train-scrubber .scrub-step") != f"Step {whole} of {whole}", "its end is not known yet"
    window.shot("replay")
    window.page.wait_for_function(f"{drawn} > {early}")
    # The replay goes on while another tab is open.
    window.tab("Data")
    window.tab("Train")
    window.wait_text("#replay-stage", "Replay at 1×")
    check(window.page.get_by_role("radio", name="60×", exact=True))
    window.wait_text("#replay-stage", "Replayed")
    assert window.page.evaluate(drawn) == whole
    assert window.text("#train-scrubber .scrub-step") == f"Step {whole} of {whole}"
    assert not window.page.evaluate(f"{plot}.layout.annotations?.length")
    check(window.page.get_by_role("radio", name="1×", exact=True))
    window.page.click("#replay-start")
    window.wait_text("#replay-stage", "Replay at 1×")
    window.page.click("#replay-stop")
    window.wait_text("#replay-stage", "stopped")
    assert window.page.evaluate(drawn) == whole
    window.page.click("#replay-back")
    window.wait_text("#strip", "trial 00")
    window.page.wait_for_function("!document.querySelector('#replay-back')")
