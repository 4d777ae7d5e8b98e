"""A tab as Python: controls light their lines, lines lead to their controls, and the run is taken along."""

from __future__ import annotations

import ast
import json

import pytest
from browser import Window, close_windows

pytestmark = pytest.mark.slow

LIT = "#train-python .python-line.lit"


@pytest.fixture(scope="module")
def window(empty_lab, browser):
    yield Window(browser, empty_lab)
    close_windows(browser)


def open_fold(window: Window, tab: str) -> None:
    window.tab(tab)
    fold = window.page.locator(f"#{tab.lower()}-python-fold .label-wrap")
    if "open" not in (fold.get_attribute("class") or "").split():
        fold.click()
    window.page.wait_for_selector(f"#{tab.lower()}-python .python-line")


def set_rank(window: Window, rank: str) -> None:
    open_fold(window, "Train")
    box = window.page.locator("#train-rank input[type=number]")
    box.fill(rank)
    box.press("Tab")
    window.wait_text("#train-python", f"r={rank},")


@pytest.mark.nightly
def test_a_control_and_its_line_lead_to_each_other(window):
    set_rank(window, "8")
    window.page.locator("#train-rank input[type=number]").focus()
    window.page.wait_for_selector(LIT)
    assert [line.strip() for line in window.page.locator(LIT).all_inner_texts()] == ["r=8,"]
    line = window.page.locator("#train-python .carries", has_text="lora_dropout")
    line.focus()
    window.page.keyboard.press("Enter")
    window.page.wait_for_function("document.activeElement.closest('#setting-lora-lora-dropout')")
    assert window.page.locator(LIT).all_inner_texts()[0].strip() == "lora_dropout=0.1,"
    window.page.locator("#setting-lora-lora-dropout input").first.fill("0")
    window.wait_text("#train-python", "lora_dropout=0,")
    window.shot("as-python")
    assert window.errors == []


def test_the_run_is_taken_along_from_any_tab(window):
    set_rank(window, "8")
    open_fold(window, "Evaluate")
    window.wait_text("#evaluate-python", "corpus_score")
    files = {}
    for form in ("py", "ipynb"):
        with window.page.expect_download() as download:
            window.page.locator(f"#evaluate-python-{form}").click()
        assert download.value.suggested_filename == f"instruction_tuning.{form}"
        files[form] = download.value.path().read_text()
    ast.parse(files["py"])
    assert "r=8," in files["py"]
    assert "r=8," in "".join("".join(cell["source"]) for cell in json.loads(files["ipynb"])["cells"])


def test_a_settings_fault_and_hostile_text_are_shown_as_text(window):
    open_fold(window, "Compare")
    window.page.locator("#compare-decoding > .label-wrap").click()
    hostile = "<img src=x onerror=alert(1)>${alert(2)}"
    stop = window.page.locator("#compare-stop-texts textarea, #compare-stop-texts input").first
    stop.fill(hostile)
    stop.press("Tab")
    window.wait_text("#compare-python", hostile)
    assert window.page.locator("#compare-python img").count() == 0
    open_fold(window, "Train")
    rate = window.page.locator("#train-learning-rate input")
    rate.fill("-1")
    rate.press("Tab")
    window.wait_text("#train-python .python-fault", "“Learning rate” must be above 0 and at most 1, not -1.")
    assert window.errors == []
