"""The slow tests of tests/browser/test_journey_keyboard.py, for the nightly run."""

from __future__ import annotations

from test_journey_keyboard import open_tab, press, reach, window


def test_from_data_to_an_evaluation_without_a_mouse(window):
    press(window, "#data-load")
    window.wait_text("#data-summary", "held out")

    open_tab(window, "Train")
    # Every card is a tab stop of its own; the space bar selects it.
    reach(window, "#train-preset input[value=smoke]")
    window.page.keyboard.press("Space")
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")

    open_tab(window, "Format")
    window.page.wait_for_selector("#format-note", state="hidden")
    window.wait_text("#format-sentence", "tokens carry loss")
    reach(window, "#format-tokens .token")
    window.page.keyboard.press("ArrowRight")
    assert "Token 2 of" in window.text("#format-tokens .token-line")

    open_tab(window, "Train")
    press(window, "#train-start")
    window.wait_finished()

    open_tab(window, "Compare")
    window.wait_text("#compare-state", "asks base and tuned")
    window.page.wait_for_selector("#compare-ask:enabled")
    press(window, "#compare-ask")
    window.wait_text("#compare-state", "Done")

    open_tab(window, "Evaluate")
    reach(window, "#evaluate-limit")
    window.page.keyboard.press("Control+A")
    window.page.keyboard.type("4")
    press(window, "#evaluate-start")
    window.wait_text("#evaluate-sentence", "on 4 held-out rows")

    open_tab(window, "Runs")
    reach(window, "#runs-table")
    window.shot("keyboard")
    assert window.errors == []
