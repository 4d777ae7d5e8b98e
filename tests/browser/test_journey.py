"""A person's way through all tabs in a real browser."""

from __future__ import annotations

import json

import pytest
from browser import Window, close_windows, serving

from instruct_tune.data.sources import BUNDLED_FILE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    with serving(tmp_path_factory.mktemp("journey") / "data") as address:
        yield browser, address
        close_windows(browser)


@pytest.fixture
def lab(served):
    browser, _ = served
    yield served
    close_windows(browser)


def choose_smoke(window: Window) -> None:
    window.preset("smoke")
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")


def start_and_finish(window: Window, name: str, tab: str = "Train", button: str = "#train-start") -> None:
    """Start a run from ``tab``; the page shows Train."""
    window.page.fill("#run-name input, #run-name textarea", name)
    window.tab(tab)
    window.page.click(button)
    window.wait_text("#strip", name[:20])
    window.wait_finished()
    assert window.page.get_by_role("tab", name="Train", exact=True).get_attribute("aria-selected") == "true"


def drag_across(window: Window, selector: str, start: float, end: float) -> None:
    """Zoom with the mouse: press, move, release."""
    window.page.locator(selector).scroll_into_view_if_needed()
    box = window.page.locator(selector).bounding_box()
    mouse, middle = window.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + start * box["width"], middle)
    mouse.down()
    mouse.move(box["x"] + end * box["width"], middle, steps=5)
    mouse.up()


def test_from_data_to_runs(lab):
    browser, address = lab
    window = Window(browser, address)

    window.page.click("#data-load")
    rows = len(BUNDLED_FILE.read_text("utf-8").splitlines())
    assert f"{rows:,} rows loaded" in window.wait_text("#data-summary", "held out")
    window.page.wait_for_selector('#data-rows [data-testid="cell-0-1"]')
    window.shot("data")

    choose_smoke(window)
    window.tab("Format")
    window.page.wait_for_selector("#format-note", state="hidden")
    sentence = window.wait_text("#format-sentence", "tokens carry loss")
    assert "The 0 prompt" not in sentence
    assert "<|im_end|>" in window.text("#format-tokens")
    window.shot("format")

    window.tab("Train")
    # One click trains, whatever tab is open.
    start_and_finish(window, "smoke run", "Data", "#train-now")
    assert "step 4 of 4" in window.text("#train-status")
    window.page.wait_for_function("document.querySelector('#train-chart .loss-plot')?.data?.[0]?.x.length === 4")
    probe = window.page.evaluate(
        "document.querySelector('#train-chart .loss-plot').data.find(d => d.name.includes('probe')).x"
    )
    assert probe == [0, 2, 4]
    window.shot("train")

    window.tab("Compare")
    window.wait_text("#compare-state", "asks base and tuned")
    window.page.wait_for_selector("#compare-ask:enabled")
    window.page.click("#compare-ask")
    window.wait_text("#compare-state", "Done")
    assert "tokens in" in window.text("#compare-tuned-facts")
    window.shot("compare")

    window.tab("Evaluate")
    window.page.fill("#evaluate-limit input", "4")
    window.page.click("#evaluate-start")
    window.wait_text("#evaluate-sentence", "on 4 held-out rows")
    assert "tuned" in window.page.get_attribute("#evaluate-plot [role=img]", "aria-label")
    assert "tok:13a" in window.value("#evaluate-signature")
    window.shot("evaluate")

    window.tab("Runs")
    window.page.click('#runs-table [data-testid="cell-0-0"]')
    window.wait_text("#runs-details", "smoke run")
    window.page.wait_for_selector("#runs-plot .js-plotly-plot")
    with window.page.expect_download() as download:
        window.page.click("#runs-export")
    assert download.value.suggested_filename.endswith(".zip")
    window.shot("runs")
    assert window.errors == []


@pytest.mark.nightly
def test_zoom_survives_an_update_and_the_run_is_paused_resumed_and_discarded(lab):
    browser, address = lab
    window = Window(browser, address)
    choose_smoke(window)
    window.more_settings("Optimisation")
    window.page.get_by_label("Most steps").fill("400")
    window.page.get_by_label("Epochs", exact=True).fill("1000")
    window.page.fill("#run-name input, #run-name textarea", "zooming")
    window.page.click("#train-start")
    window.wait_text("#strip", "zooming: running, step")
    drawn = "(document.querySelector('#train-chart .loss-plot')?.data?.[0]?.x || [])"
    window.page.wait_for_function(f"{drawn}.length > 8")
    window.page.evaluate("document.querySelector('#train-chart .loss-plot').dataset.mark = 'same node'")
    drag_across(window, "#train-chart .nsewdrag", 0.2, 0.6)
    plot = "document.querySelector('#train-chart .loss-plot')"
    zoomed = window.page.evaluate(f"{plot}.layout.xaxis.range")
    assert zoomed[0] > 0
    before = window.page.evaluate(f"{drawn}.at(-1)")
    window.page.wait_for_function(f"{drawn}.at(-1) > {before}")
    assert window.page.evaluate(f"[{plot}.dataset.mark, {plot}.layout.xaxis.range]") == ["same node", zoomed]
    window.page.click("#train-pause")
    assert "the adapter is kept" in window.wait_text("#train-status", "Paused")
    window.page.click("#train-resume")
    window.wait_text("#train-status", "running")
    window.page.click("#train-stop")
    assert "the adapter is kept" in window.wait_text("#train-status", "Stopped")
    window.page.click("#train-resume")
    window.wait_text("#train-status", "running")
    window.page.click("#train-discard")
    window.wait_text("#train-discard-question", "zooming")
    window.page.click("#train-discard-yes")
    window.wait_text("#train-status", "was deleted")
    assert window.errors == []


def test_mistakes_get_one_sentence_and_lose_nothing(lab):
    browser, address = lab
    window = Window(browser, address)
    choose_smoke(window)
    window.page.get_by_label("Learning rate").fill("-1")
    window.page.get_by_label("Epochs", exact=True).fill("0")
    window.page.click("#train-start")
    toast = window.page.wait_for_selector("[data-testid=toast-body]").inner_text()
    assert "“Learning rate” must" in toast
    assert "“Epochs” must" in toast
    assert "Traceback" not in toast
    assert window.page.get_by_label("Learning rate").input_value() == "-1"
    # Once the values are corrected, the same button starts the run.
    window.page.get_by_label("Learning rate").fill("0.001")
    window.page.get_by_label("Epochs", exact=True).fill("1")
    window.page.fill("#run-name input, #run-name textarea", "after a mistake")
    window.page.click("#train-start")
    window.wait_text("#strip", "after a mistake")
    window.wait_finished()

    window.tab("Data")
    window.page.fill("#data-source input", "/nowhere/rows.json")
    window.page.keyboard.press("Enter")
    window.page.click("#data-load")
    window.page.wait_for_function(
        "[...document.querySelectorAll('[data-testid=toast-body]')].some(t => t.innerText.includes('rows.json'))"
    )


def test_hostile_text_is_shown_as_text(lab, tmp_path):
    browser, address = lab
    script = "</script><script>window.hacked=1</script>"
    evil = f"<img src=x onerror=window.hacked=1>{script}${{window.hacked=1}} [x](javascript:1)"
    rows = [{"instruction": f"{evil} {n}", "input": "", "output": f"{evil} \u202eabc\x07 {n}"} for n in range(40)]
    file = tmp_path / "evil.json"
    file.write_text(json.dumps(rows))
    window = Window(browser, address)
    choose_smoke(window)
    window.tab("Data")
    window.page.set_input_files("#data-upload input[type=file]", str(file))
    window.wait_text("#data-summary", "40 rows loaded")
    assert "onerror" in window.text("#data-rows")
    window.tab("Format")
    window.page.wait_for_selector("#format-note", state="hidden")
    window.wait_text("#format-sentence", "tokens carry loss")
    tokens = window.page.locator("#format-tokens .token-grid .text").all_inner_texts()
    assert "<img·src=x" in "".join(tokens)
    window.tab("Train")
    start_and_finish(window, "evil <img src=x onerror=window.hacked=1>")
    window.tab("Compare")
    window.page.wait_for_function("document.querySelector('#compare-instruction textarea').value.includes('onerror')")
    window.page.click("#compare-ask")
    window.wait_text("#compare-state", "Done")
    assert "onerror" in window.text("#compare-expected .cm-content")
    window.tab("Evaluate")
    window.page.fill("#evaluate-limit input", "2")
    window.page.click("#evaluate-start")
    window.wait_text("#evaluate-sentence", "BLEU")
    window.tab("Runs")
    window.page.click('#runs-table [data-testid="cell-0-0"]')
    window.wait_text("#runs-details", "evil")
    assert window.page.evaluate("window.hacked") is None


@pytest.mark.nightly
def test_a_run_is_the_same_in_a_second_window_and_is_renamed_and_its_settings_are_used_again(lab):
    browser, address = lab
    window = Window(browser, address)
    choose_smoke(window)
    window.page.get_by_label("Epochs", exact=True).fill("2")
    start_and_finish(window, "to be renamed")
    window.again()
    other = Window(browser, address)
    for shown in (window, other):
        shown.wait_text("#strip", "to be renamed: finished")
        shown.tab("Train")
        shown.wait_text("#train-status", "step 8 of 8")
    other.close()
    window.tab("Runs")
    window.page.click('#runs-table [data-testid="cell-0-0"]')
    window.wait_text("#runs-details", "to be renamed")
    window.tab("Name and notes")
    window.page.fill("#runs-name input, #runs-name textarea", "a better name")
    window.page.click("#runs-rename")
    window.wait_text("#runs-details", "a better name")
    window.wait_text("#runs-table", "a better name")
    window.page.click("#runs-clone")
    # The answer opens Train; another tab that is opened before it would be left again.
    window.page.wait_for_selector("#train-start", state="visible")
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny-random')")
    assert window.page.get_by_label("Epochs", exact=True).input_value() == "2"
    window.tab("Runs")
    window.page.click("#runs-delete")
    window.wait_text("#runs-details", "Click a row")
    # The window that followed the deleted run still polls, and everything else on it still updates.
    window.page.wait_for_function("!document.querySelector('#runs-table').innerText.includes('a better name')")
    window.page.wait_for_function("!document.querySelector('#strip').innerText.includes('a better name')")
    assert window.errors == []
