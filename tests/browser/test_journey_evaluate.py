"""The Evaluate tab in a real browser: a result with its verdict, rows to look into, a Stop that claims no result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import Window, close_windows, serving
from labs import finished, opened, smoke

from instruct_tune.config.viewer import HOST

pytestmark = pytest.mark.slow

CELL = '#evaluate-table [data-testid="cell-{row}-{column}"]'


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    """A lab with one run that was evaluated twice, on 30 and on 4 rows."""
    data_dir = tmp_path_factory.mktemp("evaluate") / "data"
    # Imports come first, since the wait for a run has a time limit.
    with opened(data_dir) as lab:
        run_id = finished(lab, smoke(), "measured")
        for limit in (30, 4):
            list(lab.evaluations.stream(HOST, run_id, limit))
    with serving(data_dir) as address:
        yield browser, address
        close_windows(browser)


@pytest.fixture
def window(served):
    browser, address = served
    window = Window(browser, address)
    window.tab("Evaluate")
    window.wait_text("#evaluate-sentence", "BLEU")
    yield window
    assert window.errors == []
    window.close()


def choose(window: Window, selector: str, label: str) -> None:
    window.page.click(f"{selector} input")
    window.page.get_by_role("option", name=label).first.click()


def test_the_last_result_is_shown_and_an_earlier_one_can_be(window):
    assert "on 4 held-out rows" in window.text("#evaluate-sentence")
    window.page.set_viewport_size({"width": 1280, "height": 800})
    for part in ("#evaluate-sentence", "#evaluate-plot", "#evaluate-start"):
        box = window.page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 800, part
    assert "What the numbers say" in window.text("#evaluate-verdict")
    assert "95% interval" in window.page.get_attribute("#evaluate-plot [role=img]", "aria-label")
    choose(window, "#evaluate-which", "30 rows")
    window.wait_text("#evaluate-sentence", "on 30 held-out rows")
    window.tab("Rows")
    window.wait_text("#evaluate-where", "30 rows · page 1 of 2")
    window.page.click("#evaluate-following")
    window.wait_text("#evaluate-where", "page 2 of 2")
    window.shot("evaluate")


@pytest.mark.nightly
def test_a_row_is_found_and_read_in_full(window):
    window.tab("Rows")
    window.page.wait_for_selector(CELL.format(row=0, column=2))
    # The first row of the table is there in full without a click, with its difference.
    first = window.text(CELL.format(row=0, column=0))
    assert f"Row {first} " in window.text("#evaluate-row")
    window.wait_text("#evaluate-tuned-diff-facts", "expected words")
    word = window.text(CELL.format(row=2, column=2)).split()[-1].strip(".?")
    window.page.fill("#evaluate-search textarea, #evaluate-search input", word)
    window.page.wait_for_function("!document.querySelector('#evaluate-where').innerText.startsWith('4 rows')")
    window.page.focus("#evaluate-search textarea, #evaluate-search input")
    for _ in word:
        window.page.keyboard.press("Backspace")
    window.wait_text("#evaluate-where", "4 rows")
    window.page.keyboard.insert_text(word)
    window.page.wait_for_function("!document.querySelector('#evaluate-where').innerText.startsWith('4 rows')")
    instruction = window.text(CELL.format(row=0, column=2))
    window.page.click(CELL.format(row=0, column=2))
    number = window.text(CELL.format(row=0, column=0))
    assert "gain" in window.wait_text("#evaluate-row", f"Row {number} ")
    assert window.value("#evaluate-asked").startswith(instruction[:40])
    window.page.wait_for_selector("#evaluate-expected .cm-content")
    window.shot("evaluate-row")


@pytest.mark.nightly
def test_the_answers_can_be_taken_home(window):
    window.tab("Rows")
    with window.page.expect_download() as download:
        window.page.click("#evaluate-download")
    assert download.value.suggested_filename == "predictions.jsonl"
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert {"instruction", "input", "reference", "base", "tuned"} <= set(json.loads(lines[0]))


@pytest.mark.nightly
def test_the_plots_can_be_saved(window):
    for tab, button, name, begins in (
        ("Evaluate", "#evaluate-save-png", "bleu.png", b"\x89PNG"),
        ("Train", "#train-save-svg", "loss.svg", b"<?xml"),
    ):
        window.tab(tab)
        with window.page.expect_download() as download:
            window.page.click(button)
        assert download.value.suggested_filename == name
        assert not window.page.is_visible(button.replace("png", "file").replace("svg", "file"))
        assert Path(download.value.path()).read_bytes().startswith(begins)
        window.shot(f"save-{tab}")


@pytest.mark.nightly
def test_runs_stand_in_a_table_of_what_was_measured_alike(window):
    window.tab("All runs")
    window.wait_text("#standings-words", "tables, because not all was measured alike")
    choose(window, "#standings-which", "1 run · 30 rows")
    window.wait_text("#standings-table", "measured")
    # Answers of random weights share no 4-gram with any reference.
    window.wait_text("#standings-leader", "No run scores above base (0.0).")
    window.shot("standings")


@pytest.mark.nightly
def test_the_lessons_numbers_are_taken_apart(window):
    window.tab("Why 0.4?")
    assert "printed in the lesson, not reproduced here" in window.wait_text("#why-04-table", "not reproduced")
    window.shot("why-04")


def test_a_stop_says_what_was_done_and_claims_no_result(window):
    window.page.fill("#evaluate-limit input", "60")
    window.page.fill("#evaluate-longest input", "1500")
    window.page.click("#evaluate-start")
    window.wait_text("#evaluate-state", "answers (base and tuned)")
    window.page.wait_for_function("document.querySelector('#evaluate-progress progress').value > 0")
    window.shot("evaluating")
    window.page.click("#evaluate-stop")
    message = window.wait_text("#evaluate-state", "Stopped after")
    assert "of 120 answers; nothing was scored." in message
    assert "held-out rows" in window.text("#evaluate-sentence")
    assert "60 held-out rows" not in window.text("#evaluate-sentence")


@pytest.mark.nightly
def test_the_decoding_can_be_chosen(window):
    window.page.fill("#evaluate-limit input", "2")
    window.page.fill("#evaluate-longest input", "8")
    choose(window, "#evaluate-decoding", "Five beams")
    window.page.click("#evaluate-start")
    window.wait_text("#evaluate-sentence", "on 2 held-out rows")
    window.wait_text("#evaluate-panel, #tabs", "Beam search with 5 beams, at most 8 new tokens")
    choose(window, "#evaluate-decoding", "The run's own")
    window.page.fill("#evaluate-longest input", "")


@pytest.mark.nightly
def test_the_tokenisation_can_be_chosen(window):
    window.page.fill("#evaluate-limit input", "3")
    window.page.click("#evaluate-words button")
    choose(window, "#evaluate-tokenize", "char:")
    window.page.click("#evaluate-start")
    window.wait_text("#evaluate-sentence", "on 3 held-out rows")
    assert "tok:char" in window.value("#evaluate-signature")
