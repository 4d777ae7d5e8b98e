"""Two visitors of one lab: each has their own form and uploads, and they share the machine."""

from __future__ import annotations

import pytest
from browser import Window, chromium, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("visitors") / "data") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def again(window: Window) -> None:
    window.page.reload()
    window.page.wait_for_selector("#data-load")


def until_shown(window: Window, selector: str, wanted: str) -> None:
    window.page.wait_for_function(
        "([selector, wanted]) => document.querySelector(`${selector} input`)?.value === wanted", arg=[selector, wanted]
    )


def test_the_form_is_remembered_by_one_browser_only_until_it_is_reset(address, browser):
    mine = Window(browser, address)
    mine.tab("Train")
    until_shown(mine, "#train-rows", "48")
    mine.page.wait_for_function("window.labFormIsRestored")
    mine.page.fill("#train-rows input", "33")
    mine.page.keyboard.press("Tab")
    mine.page.wait_for_timeout(300)
    again(mine)
    mine.tab("Train")
    until_shown(mine, "#train-rows", "33")

    others = Window(browser, address)
    others.tab("Train")
    until_shown(others, "#train-rows", "48")

    mine.page.wait_for_function("window.labFormIsRestored")
    mine.page.get_by_role("button", name="This browser").click()
    mine.page.click("#form-reset")
    until_shown(mine, "#train-rows", "48")
    mine.page.wait_for_timeout(300)
    again(mine)
    mine.tab("Train")
    mine.page.wait_for_timeout(1500)
    until_shown(mine, "#train-rows", "48")
    assert mine.errors == others.errors == []
