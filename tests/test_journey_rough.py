"""Somebody who presses every button twice, in a hurry: nothing breaks, nothing is logged as a fault."""

from __future__ import annotations

import pytest
from browser import Window, chromium, serving

pytestmark = pytest.mark.slow

TABS = ("Data", "Format", "Train", "Compare", "Evaluate", "Runs")
PRESS_TWICE = """tab => {
    const panel = [...document.querySelectorAll('[role=tabpanel]')].find(each => each.offsetParent !== null);
    const buttons = [...panel.querySelectorAll('button')].filter(
        each => each.offsetParent !== null && !each.disabled && !each.id.endsWith('-next'));
    buttons.forEach(each => { each.click(); each.click(); });
    return buttons.length;
}"""


def test_every_button_of_every_tab_twice(tmp_path):
    # serving() fails where the log holds a traceback.
    with serving(tmp_path / "data") as address, chromium() as browser:
        window = Window(browser, address)
        window.preset("smoke")
        for tab in TABS:
            window.tab(tab)
            window.page.wait_for_timeout(1500)
            assert window.page.evaluate(PRESS_TWICE, tab) > 0
            window.page.wait_for_timeout(2500)
        # The page lives: a run can still be followed to its end.
        window.page.reload()
        window.page.wait_for_selector("#data-load")
        window.tab("Data")
        window.page.click("#data-load")
        window.wait_text("#data-summary", "held out")
