"""axe reports nothing serious on any tab of a light laptop; at night also on a phone and in the dark."""

from __future__ import annotations

from importlib import resources

import pytest
from at_night import at_night_after
from browser import Window

pytestmark = pytest.mark.slow

TABS = ("Data", "Format", "Train", "Compare", "Evaluate", "Runs", "Experiments")
AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def findings(page) -> list[str]:
    """The serious and critical findings, each with its rule, its element and its failure summary."""
    page.evaluate(AXE)
    report = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']} at {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for violation in report["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


IS_CHANGING = "each => each.playState === 'running' && each.effect.getTiming().iterations === 1"


@pytest.mark.parametrize(("width", "theme"), at_night_after(1, [(1280, "light"), (390, "dark")]))
def test_no_tab_has_a_serious_finding(new_lab, browser, width, theme):
    window = Window(browser, f"{new_lab}?__theme={theme}", width)
    by_tab = {}
    for tab in TABS:
        window.tab(tab)
        window.page.wait_for_timeout(700)
        if tab == "Runs":
            # The first run is chosen a moment after the tab is opened.
            window.page.wait_for_selector("#runs-compare:not([disabled])")
        # A button that becomes enabled has a colour between two for a moment.
        window.page.wait_for_function(f"!document.getAnimations().some({IS_CHANGING})")
        if serious := findings(window.page):
            by_tab[tab] = serious
    window.page.click("#path-open")
    window.page.wait_for_selector("#path h2:focus")
    window.page.click("#path .demo")
    window.page.wait_for_selector("#path .go")
    if serious := findings(window.page):
        by_tab["Learn"] = serious
    assert by_tab == {}
