"""The cost estimate in a real browser: it follows the controls, and rows are chosen to fit a time."""

from __future__ import annotations

import pytest
from browser import Window, check, close_windows, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    folder = tmp_path_factory.mktemp("cost")
    # Its own cache: the shared one may hold earlier measurements of this machine.
    with serving(folder / "data", LAB_CACHE_DIR=str(folder / "cache")) as address:
        yield browser, address
        close_windows(browser)


@pytest.fixture
def window(served):
    browser, address = served
    window = Window(browser, address)
    window.preset("smoke")
    yield window
    window.close()


def a_double_click_on_start_is_one_run(window):
    window.page.fill("#run-name input, #run-name textarea", "pressed twice")
    window.page.dblclick("#train-start")
    window.wait_finished()
    window.tab("Runs")
    window.wait_text("#runs-table", "pressed twice")
    assert window.text("#runs-table").count("pressed twice") == 1
    assert window.page.locator("[data-testid=toast-body]").count() == 0


@pytest.mark.nightly
def test_the_line_follows_the_controls_and_says_what_is_wrong(window):
    window.wait_text("#train-cost", "4 steps")
    line = window.wait_text("#train-cost", "about")
    assert "7,168 trainable parameters (7.33%)" in line
    assert "measured on this machine" in line
    window.shot("cost")
    window.page.get_by_label("Epochs", exact=True).fill("3")
    window.wait_text("#train-cost", "12 steps")
    window.page.fill("#train-rows input", "0")
    window.wait_text("#train-cost", "“Training rows” must be between")
    window.shot("cost-wrong")
    window.page.fill("#train-rows input", "8")
    window.wait_text("#train-cost", "6 steps")
    window.more_settings("Long rows")
    window.page.get_by_label("Longest row in tokens").fill("230")
    assert "will be left out" in window.wait_text("#train-cost-warnings", "longer than")
    window.fold("What it will cost, in detail")
    details = window.wait_text("#train-cost-details", "optimizer state")
    assert "memory free on this machine" in details
    window.shot("cost-details")
    a_double_click_on_start_is_one_run(window)
    assert window.errors == []


@pytest.mark.nightly
def test_rows_are_chosen_to_fit_a_time(window):
    window.fold("Fit it into a time")
    window.page.fill("#train-fit-minutes input", "600")
    window.page.click("#train-fit")
    rows = int(window.wait_text("#train-fit-said", "rows fit").split()[1])
    assert rows > 16
    window.page.wait_for_function(f"document.querySelector('#train-rows input').value === '{rows}'")
    window.wait_text("#train-cost", f"{-(-rows // 4)} steps")
    window.shot("cost-fit")
    window.page.fill("#train-fit-minutes input", "-1")
    window.page.click("#train-fit")
    assert "above 0" in window.page.wait_for_selector("[data-testid=toast-body]").inner_text()
    assert window.errors == []


@pytest.mark.nightly
def test_presets_are_cards_and_changes_are_named_and_taken_back(window):
    assert "8 rows learned by heart: does it learn?" in window.text("#train-preset")
    window.wait_text("#train-cost", "about")
    # The measured time is on the cards when the tab is opened again.
    window.tab("Data")
    window.tab("Train")
    window.wait_text("#train-preset label:last-of-type", "here")
    window.page.fill("#train-rows input", "8")
    window.wait_text("#preset-changed", "Changed from smoke: rows 16 → 8")
    window.shot("presets")
    window.page.click("#preset-reset")
    window.page.wait_for_function("document.querySelector('#train-rows input').value === '16'")
    window.page.wait_for_function("!document.querySelector('#preset-changed')?.innerText.trim()")
    check(window.page.locator("#train-preset input[value=quick]"))
    window.page.wait_for_function("document.querySelector('#train-rows input').value === '200'")
    assert window.errors == []


@pytest.mark.nightly
def test_a_preset_fills_the_form_before_anybody_can_change_it_and_leaves_their_rows(window, tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("instruction,input,output\n" + "".join(f"say {n},,{n}\n" for n in range(40)))
    window.tab("Data")
    window.page.fill("#data-source input", str(mine))
    window.page.keyboard.press("Enter")
    window.preset("quick")
    epochs = window.page.get_by_label("Epochs", exact=True)
    epochs.fill("3")
    window.wait_text("#preset-changed", "Changed from quick: epochs 1 → 3")
    # Longer than any response has ever taken.
    window.page.wait_for_timeout(3000)
    assert epochs.input_value() == "3"
    assert window.page.input_value("#train-rows input") == "200"
    window.tab("Data")
    assert window.page.input_value("#data-source input").startswith(str(mine))
    window.preset("lesson")
    window.tab("Data")
    assert window.page.input_value("#data-source input").startswith("codealpaca-20k")
    assert window.errors == []


@pytest.mark.nightly
def test_what_a_run_kept_from_being_measured_is_shown_when_it_ends(window):
    window.page.get_by_label("Epochs", exact=True).fill("1000")
    window.wait_text("#train-cost", "4,000 steps")
    window.page.click("#train-start")
    window.wait_text("#train-status", "running · training")
    window.page.locator("#train-rank input[type=number]").fill("5")
    window.wait_text("#train-cost", "Time and memory are measured when")
    window.page.click("#train-stop")
    window.wait_text("#train-status", "stopped")
    window.wait_text("#train-cost", "which had another adapter")
    assert window.errors == []
