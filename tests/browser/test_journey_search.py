"""The Search tab in a real browser: the candidates of every place, two trees that grow, and a branch from a click."""

from __future__ import annotations

import json

import pytest
from at_night import at_night_after
from browser import Window, close_windows, serving
from labs import finished, opened, smoke

pytestmark = pytest.mark.slow

MARKUP = "<b>" * 24
FOLD = "#compare-search"


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    """A lab with one finished run that answers with markup."""
    folder = tmp_path_factory.mktemp("search")
    rows = folder / "rows.json"
    answers = [{"instruction": f"Say it {n} times", "input": "", "output": MARKUP} for n in range(40)]
    rows.write_text(json.dumps(answers))
    learned = smoke(data={"source": str(rows), "limit": 16}, train={"learning_rate": 3e-2, "num_train_epochs": 8})
    with opened(folder / "data") as lab:
        finished(lab, learned, "says markup")
    with serving(folder / "data") as address:
        yield browser, address
        close_windows(browser)


def searched(browser, address, width: int = 1280, theme: str = "light") -> Window:
    window = Window(browser, f"{address}?__theme={theme}", width)
    window.tab("Compare")
    window.page.wait_for_selector("#compare-ask:enabled")
    window.tab("Search")
    window.page.click(f"{FOLD}-start")
    window.wait_text(f"{FOLD}-state", "Press a candidate")
    window.page.wait_for_selector(f"{FOLD}-beams .tuned .node.lead")
    return window


def texts(window: Window, selector: str) -> list[str]:
    return window.page.locator(selector).all_inner_texts()


@pytest.mark.nightly
def test_a_search_is_seen_walked_and_branched(served):
    window = searched(*served)
    page = window.page
    for side in ("base", "tuned"):
        assert page.locator(f"{FOLD}-greedy .{side} .token").count() == 16
        assert page.locator(f"{FOLD}-greedy .{side} .candidate").count() == 5
        assert page.locator(f"{FOLD}-beams .{side} tbody tr").count() == 5
    # The tuned answer is markup, and stays text, letter by letter and joined.
    assert "<b><b>" in "".join(texts(window, f"{FOLD}-greedy .tuned .token"))
    assert "<b><b>" in texts(window, f"{FOLD}-beams .tuned td.answer")[0]
    assert page.locator(f"{FOLD} :is(.rows, .trees) b").count() == 0
    window.shot("search-1280-light")
    walk_the_places(window)
    walk_the_tree(window)
    branch_from_a_candidate(window)
    branch_from_a_beam(window)
    assert window.errors == []
    window.close()


def walk_the_places(window: Window) -> None:
    page = window.page
    page.locator(f"{FOLD}-greedy .tuned .token").first.focus()
    assert window.text(f"{FOLD}-greedy .tuned .place") == "Place 1 of 16"
    page.keyboard.press("ArrowRight")
    assert window.text(f"{FOLD}-greedy .tuned .place") == "Place 2 of 16"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    # The second candidate has the focus.
    assert page.evaluate("document.activeElement.className") == "candidate"


def walk_the_tree(window: Window) -> None:
    page, tree = window.page, f"{FOLD}-beams .tuned"
    # Step by step: the slider, with the keyboard.
    page.locator(f"{FOLD}-beams .step").focus()
    page.keyboard.press("Home")
    assert window.text(f"{FOLD}-beams .step-text") == "Step 1 of 16"
    assert page.locator(f"{tree} .node:not(.unseen)").count() == 5
    page.keyboard.press("ArrowRight")
    assert page.locator(f"{tree} .node:not(.unseen)").count() > 5
    page.keyboard.press("End")
    assert page.locator(f"{tree} .node.unseen").count() == 0
    # One bold path, from the first step to the answer that ranks first.
    assert page.locator(f"{tree} .node.lead").count() >= 1
    assert window.text(f"{tree} .node.ended.lead .rank") == "1"
    page.locator(f"{tree} .node[tabindex='0']").focus()
    page.keyboard.press("Home")
    assert "Step 1:" in window.text(f"{tree} .reading")
    page.keyboard.press("ArrowRight")
    assert "Step 2:" in window.text(f"{tree} .reading")


def branch_from_a_candidate(window: Window) -> None:
    page, branch = window.page, f"{FOLD}-branch"
    page.locator(f"{FOLD}-greedy .tuned .token").nth(3).click()
    page.locator(f"{FOLD}-greedy .tuned .candidate").nth(1).click()
    assert "What if it had said" in window.wait_text(branch, "What if")
    for side in ("base", "tuned"):
        assert page.locator(f"{branch} .{side} .given").count() == 4
        assert page.locator(f"{branch} .{side} .given.forced").count() == 1
        assert page.locator(f"{branch} .{side} .token").count() >= 1
    # Nothing is left to stop.
    page.wait_for_selector(f"{FOLD}-stop", state="hidden")
    given = texts(window, f"{branch} .base .given")
    assert given == texts(window, f"{branch} .tuned .given")
    window.shot("search-branch-1280-light")


def branch_from_a_beam(window: Window) -> None:
    page, branch = window.page, f"{FOLD}-branch"
    node = page.locator(f"{FOLD}-beams .base .node[data-key='1.1']")
    node.click()
    page.wait_for_function("branch => document.querySelectorAll(branch + ' .base .given').length === 2", arg=branch)
    assert page.locator(f"{branch} .tuned .given.forced").count() == 1


@pytest.mark.parametrize(("width", "theme"), at_night_after(0, [(1280, "dark"), (390, "light")]))
def test_it_fits_a_phone_and_the_dark(served, width, theme):
    window = searched(*served, width, theme)
    assert window.page.evaluate("document.documentElement.scrollWidth") <= width
    window.shot(f"search-{width}-{theme}")
    assert window.errors == []
    window.close()


@pytest.mark.nightly
def test_another_question_clears_the_search(served):
    window = searched(*served)
    window.page.click("#compare-following")
    window.page.wait_for_selector(f"{FOLD}-beams", state="hidden")
    window.wait_text(f"{FOLD}-state", "shows every choice")
    assert window.errors == []
    window.close()
