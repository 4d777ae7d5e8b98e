"""The Compare tab in a real browser: two answers that grow together, a Stop that keeps them, rows that never mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import Window, close_windows, serving
from labs import finished, opened, smoke

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    """A lab with one finished run that repeats "yes": visible text, whatever the random weights would answer."""
    folder = tmp_path_factory.mktemp("compare")
    rows, data_dir = folder / "rows.json", folder / "data"
    rows.write_text(
        json.dumps([{"instruction": f"Say it {n} times", "input": "", "output": "yes " * 20} for n in range(40)])
    )
    learned = smoke(data={"source": str(rows), "limit": 16}, train={"learning_rate": 3e-2, "num_train_epochs": 8})
    # Imports come first, since the wait for a run has a time limit.
    with opened(data_dir) as lab:
        finished(lab, learned, "a small run")
    with serving(data_dir) as address:
        yield browser, address
        close_windows(browser)


@pytest.fixture(scope="module")
def opened_tab(served):
    browser, address = served
    window = Window(browser, address)
    window.tab("Compare")
    window.page.wait_for_function("document.querySelector('#compare-instruction textarea').value.length > 0")
    window.fold("Decoding")
    window.fold("Keep and share")
    yield window
    window.close()


@pytest.fixture
def window(opened_tab):
    """The shared page, moved on to a row that was not answered yet."""
    turn_to_the_next_row(opened_tab)
    yield opened_tab
    assert opened_tab.errors == []


def turn_to_the_next_row(window: Window) -> None:
    turn(window, "#compare-following")


def turn(window: Window, button: str) -> None:
    """Press ``button``, and wait for another row."""
    row = window.page.input_value("#compare-row input")
    before = window.value("#compare-instruction")
    window.page.click(button)
    # Both: the text alone may still change for what the test before did.
    window.page.wait_for_function(
        """([row, text]) => document.querySelector('#compare-row input').value !== row
            && document.querySelector('#compare-instruction textarea').value !== text""",
        arg=[row, before],
    )


def code(window: Window, selector: str) -> str:
    """The text of a code box. gradio strips it, and shows a placeholder where nothing is left."""
    return window.page.evaluate("s => document.querySelector(s + ' .cm-content')?.innerText ?? ''", selector).strip()


def answering(window: Window) -> None:
    """Press Compare, and wait until some of the tuned answer is there."""
    window.page.click("#compare-ask")
    window.page.wait_for_function("document.querySelector('#compare-tuned .cm-content')?.innerText.trim().length > 3")


def longest(window: Window, tokens: int) -> None:
    window.page.fill("#compare-longest input[type=number]", str(tokens))
    window.page.keyboard.press("Tab")


def test_two_answers_with_their_details(window):
    longest(window, 96)
    assert code(window, "#compare-expected")
    window.page.click("#compare-ask")
    assert "at most 96 new tokens" in window.wait_text("#compare-state", "Done")
    assert code(window, "#compare-tuned").startswith("y")
    for side in ("base", "tuned"):
        assert "96 tokens in " in window.text(f"#compare-{side}-facts")
    window.shot("compare")
    assert "of 20 expected words" in window.wait_text("#compare-tuned-diff-facts", "expected words")
    assert "yes" in window.text("#compare-tuned-diff")
    read_token_by_token(window)


def test_each_quick_click_goes_a_row_on_while_an_answer_streams(window):
    row, instruction = window.page.input_value("#compare-row input"), window.value("#compare-instruction")
    turn(window, "#compare-previous")
    longest(window, 512)
    answering(window)
    for _ in range(3):
        window.page.click("#compare-following")
    window.wait_text("#compare-state", "asks base and tuned")
    for _ in range(2):
        window.page.click("#compare-previous")
    window.page.wait_for_function(
        "text => document.querySelector('#compare-instruction textarea').value === text", arg=instruction
    )
    window.page.wait_for_timeout(1000)
    assert window.page.input_value("#compare-row input") == row
    assert window.value("#compare-instruction") == instruction


def read_token_by_token(window):
    window.tab("Why")
    window.page.click("#compare-why-read")
    assert "times as likely" in window.wait_text("#compare-why-sentence", "Loss per token")
    boxes = window.page.locator("#compare-why-map .heat-token .text")
    assert "".join(boxes.all_inner_texts()).replace("·", " ").strip() == "yes " * 20 + "EOS"
    window.page.locator("#compare-why-map .heat-token").first.focus()
    window.page.keyboard.press("End")
    assert "EOS, base" in window.text("#compare-why-map .heat-line")
    # A hovered token is described and marked; afterwards the focused one is described again.
    window.page.locator("#compare-why-map .heat-token").first.hover()
    assert "Token 1 of 81" in window.text("#compare-why-map .heat-line")
    assert window.page.locator("#compare-why-map .heat-token.current").get_attribute("data-at") == "0"
    window.page.hover("#compare-why-sentence")
    assert "EOS, base" in window.text("#compare-why-map .heat-line")
    for side in ("base", "tuned"):
        assert window.page.locator(f"#compare-why-map .heat-{side} tr").count() == 5
    window.shot("compare-why")
    window.tab("Answers")


# The tiny model decodes hundreds of tokens a second: a click from outside the page may come too late.
STOP_AT_THE_FIRST_WORDS = """() => {
    const box = document.querySelector('#compare-tuned');
    const watch = new MutationObserver(() => {
        if ((box.querySelector('.cm-content')?.innerText.trim().length ?? 0) > 3) {
            watch.disconnect();
            document.querySelector('#compare-stop').click();
        }
    });
    watch.observe(box, {subtree: true, childList: true, characterData: true});
}"""


def test_a_stop_keeps_what_is_there(window):
    longest(window, 1024)
    height = window.page.locator("#compare-tuned").bounding_box()["height"]
    window.page.evaluate(STOP_AT_THE_FIRST_WORDS)
    window.page.click("#compare-ask")
    window.wait_text("#compare-state", "Stopped.")
    # The box keeps its height while the text grows.
    assert window.page.locator("#compare-tuned").bounding_box()["height"] == height
    assert "kept" in window.text("#compare-tuned-facts")
    assert len(code(window, "#compare-tuned")) > 3


@pytest.mark.nightly
def test_another_row_takes_the_old_answers_away(window):
    longest(window, 1024)
    first = window.value("#compare-instruction")
    answering(window)
    turn_to_the_next_row(window)
    # Long enough for an answer that is still being decoded to arrive, if it could.
    window.page.wait_for_timeout(500)
    assert code(window, "#compare-base") == code(window, "#compare-tuned") == ""
    window.page.click("#compare-previous")
    window.page.wait_for_function(
        "before => document.querySelector('#compare-instruction textarea').value === before", arg=first
    )


def test_edited_text_has_no_expected_answer(window):
    assert code(window, "#compare-expected")
    longest(window, 8)
    window.page.locator("#compare-instruction textarea").press_sequentially(" now")
    window.wait_text("#compare-expected", "has none")
    assert code(window, "#compare-expected") == ""
    assert window.page.get_by_role("radio", name="My own instruction").is_checked()
    assert window.value("#compare-instruction").endswith(" now")
    window.page.click("#compare-ask")
    window.wait_text("#compare-state", "Done")


def test_a_question_at_once_after_typing_is_answered(window):
    longest(window, 8)
    window.page.locator("#compare-instruction textarea").press_sequentially(" now")
    window.page.click("#compare-ask")
    window.wait_text("#compare-state", "Done")
    # Long enough for the updates that the typing triggered to arrive.
    window.page.wait_for_timeout(1000)
    assert code(window, "#compare-tuned").startswith("y")
    assert "Done" in window.text("#compare-state")
    window.wait_text("#compare-expected", "has none")
    assert window.page.get_by_role("radio", name="My own instruction").is_checked()


def test_for_an_instruction_of_ones_own_nothing_is_expected(window):
    of_a_row = ("#compare-expected", "#compare-diff-shown")
    window.page.get_by_role("radio", name="My own instruction").check()
    for selector in of_a_row:
        window.page.wait_for_selector(selector, state="hidden")
    window.page.fill("#compare-instruction textarea", "")
    window.page.click("#compare-ask")
    window.wait_text("[data-testid=toast-body]", "Type an instruction first.")
    # Nothing is being answered.
    window.wait_text("#compare-state", "Compare asks base and tuned.")
    window.page.get_by_role("radio", name="Held-out row").check()
    for selector in of_a_row:
        window.page.wait_for_selector(selector)


@pytest.mark.nightly
def test_without_a_run_it_leads_to_train_and_to_recorded_runs(empty_lab, browser):
    window = Window(browser, empty_lab)
    # Time enough for the page to find a run, if there were one.
    window.page.wait_for_timeout(1500)
    for tab, primary in (("Evaluate", "#evaluate-start"), ("Compare", "#compare-ask")):
        window.tab(tab)
        window.page.wait_for_selector(primary)
        assert window.page.locator(primary).is_disabled()
        window.shot(f"{tab}-empty")
        window.page.click(f"#{tab.lower()}-to-train")
        window.page.wait_for_selector("#train-start")
    window.tab("Compare")
    window.page.click("#compare-recorded")
    window.page.wait_for_function("document.querySelector('#compare-run input')?.value.includes('recorded on')")
    window.page.wait_for_selector("#compare-ask:enabled")
    assert not window.page.is_visible("#compare-empty")
    the_first_screen_shows_recorded_answers(window)
    window.tab("Evaluate")
    window.wait_text("#evaluate-sentence", "BLEU")
    assert window.errors == []
    window.close()


def the_first_screen_shows_recorded_answers(window: Window) -> None:
    """Nothing but the tab is clicked; then rows are stepped through, and no model answers."""
    window.page.set_viewport_size({"width": 1280, "height": 800})
    window.wait_text("#compare-state", "Recorded answers of the evaluation on 20")
    window.wait_text("#compare-tuned-diff-facts", "expected words")
    for name in ("instruction", "expected", "base", "tuned", "base-facts", "tuned-facts", "tuned-diff", "ask"):
        box = window.page.locator(f"#compare-{name}").bounding_box()
        assert box["y"] + box["height"] <= 800, name
    assert "press" not in window.text("#compare-workbench").lower()
    first = [code(window, f"#compare-{side}") for side in ("expected", "base", "tuned")]
    assert all(first)
    turn_to_the_next_row(window)
    window.wait_text("#compare-state", "Recorded answers")
    second = [code(window, f"#compare-{side}") for side in ("expected", "base", "tuned")]
    assert all(second)
    assert all(text not in first for text in second)
    window.shot("compare-recorded")


def choose(window: Window, selector: str, label: str) -> None:
    window.page.click(f"{selector} input")
    window.page.get_by_role("option", name=label).first.click()


def test_a_checkpoint_answers_beside_its_run(window):
    longest(window, 24)
    window.fold("A third answer")
    choose(window, "#compare-third-who", "This run at step 24")
    window.page.click("#compare-ask")
    window.wait_text("#compare-state", "Done")
    window.page.wait_for_selector("#compare-third .cm-content")
    assert "This run at step 24" in window.text("#compare-third")
    assert "24 tokens in " in window.wait_text("#compare-third-facts", "tokens")
    window.wait_text("#compare-third-diff-facts", "expected words")
    window.shot("compare-third")
    choose(window, "#compare-third-who", "Nobody")
    window.page.wait_for_selector("#compare-third", state="detached")


def test_many_are_answered_at_once_and_taken_home(window):
    longest(window, 8)
    window.tab("Many")
    window.page.fill("#compare-many-asked textarea", "Say it 3 times\n\n=Say it 4 times\nSay it 5 times")
    window.page.click("#compare-many-ask")
    window.wait_text("#compare-many-state", "Done")
    table = window.wait_text("#compare-many-table", "Say it 5 times")
    assert "yes yes" in table
    window.shot("compare-many")
    with window.page.expect_download() as download:
        window.page.click("#compare-many-jsonl")
    assert not window.page.is_visible("#compare-many-file")
    rows = [json.loads(line) for line in Path(download.value.path()).read_text(encoding="utf-8").splitlines()]
    assert [row["instruction"] for row in rows] == ["Say it 3 times", "=Say it 4 times", "Say it 5 times"]
    assert all(row["Tuned"].startswith("yes") and "Base" in row for row in rows)
    window.tab("Answers")


def test_an_answer_is_kept_as_a_note_on_the_run(window):
    longest(window, 8)
    question = window.value("#compare-instruction")
    window.page.click("#compare-ask")
    window.wait_text("#compare-state", "Done")
    window.page.click("#compare-keep")
    window.wait_text("[data-testid=toast-body]", "Kept")
    window.tab("Runs")
    window.page.get_by_role("gridcell", name="a small run").first.click()
    window.tab("Name and notes")
    window.page.wait_for_function(
        "question => document.querySelector('#runs-notes textarea')?.value.includes(question)", arg=question
    )
    assert "Tuned: yes" in window.value("#runs-notes")
    window.tab("Compare")


@pytest.mark.nightly
def test_a_link_brings_somebody_else_to_the_same_question(window, served):
    longest(window, 16)
    row, question = window.page.input_value("#compare-row input"), window.value("#compare-instruction")
    window.page.click("#compare-link")
    window.page.wait_for_function("document.querySelector('#compare-address .cm-content')?.innerText.includes('?tab')")
    address = "".join(code(window, "#compare-address").split())
    window.page.click("#compare-following")
    window.page.wait_for_selector("#compare-address", state="hidden")
    browser, _ = served
    other = Window(browser, address)
    other.page.wait_for_selector("#compare-ask:enabled")
    other.page.wait_for_function(
        "question => document.querySelector('#compare-instruction textarea').value === question", arg=question
    )
    assert other.page.input_value("#compare-row input") == row
    other.fold("Decoding")
    assert other.page.input_value("#compare-longest input[type=number]") == "16"
    other.page.click("#compare-ask")
    assert "at most 16 new tokens" in other.wait_text("#compare-state", "Done")
    other.page.wait_for_function("document.querySelector('#compare-tuned .cm-content').innerText.startsWith('y')")
    # Time for an update that would take it away again.
    other.page.wait_for_timeout(1500)
    assert code(other, "#compare-tuned").startswith("y")
    assert other.errors == []
    other.close()
