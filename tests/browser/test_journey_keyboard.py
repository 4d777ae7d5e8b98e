"""All tabs with the keyboard alone: every control that is needed can be reached and pressed."""

from __future__ import annotations

import pytest
from browser import Window, close_windows

pytestmark = pytest.mark.slow

MAX_PRESSES = 300


@pytest.fixture(scope="module")
def window(empty_lab, browser):
    yield Window(browser, empty_lab)
    close_windows(browser)


def reach(window: Window, selector: str) -> None:
    """Press Tab, as a person without a mouse does, until the focus is in ``selector``."""
    for _ in range(MAX_PRESSES):
        if window.page.evaluate("selector => !!document.activeElement.closest(selector)", selector):
            return
        window.page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached with the Tab key")


def press(window: Window, selector: str) -> None:
    reach(window, selector)
    window.page.keyboard.press("Enter")


def open_tab(window: Window, name: str) -> None:
    press(window, f'button[role=tab][data-tab-id="{name}"]')
    window.page.wait_for_selector(f'button[role=tab][data-tab-id="{name}"][aria-selected=true]')


@pytest.mark.nightly
def test_data_is_loaded_and_a_row_walked_without_a_mouse(window):
    press(window, "#data-load")
    window.wait_text("#data-summary", "held out")
    open_tab(window, "Train")
    # Every card is a tab stop of its own; the space bar picks it.
    reach(window, "#train-preset input[value=smoke]")
    window.page.keyboard.press("Space")
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")
    open_tab(window, "Format")
    window.page.wait_for_selector("#format-note", state="hidden")
    window.wait_text("#format-sentence", "tokens carry loss")
    reach(window, "#format-tokens .token")
    window.page.keyboard.press("ArrowRight")
    assert "Token 2 of" in window.text("#format-tokens .token-line")
    assert window.errors == []
