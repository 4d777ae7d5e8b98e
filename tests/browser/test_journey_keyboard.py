"""All tabs with the keyboard alone: every control that is needed can be reached and pressed."""

from __future__ import annotations

import pytest
from browser import Window, close_windows, serving

pytestmark = pytest.mark.slow

MAX_PRESSES = 300


@pytest.fixture(scope="module")
def window(tmp_path_factory, browser):
    with serving(tmp_path_factory.mktemp("keyboard") / "data") as address:
        yield Window(browser, address)
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
