"""The Format tab in a real browser: the X-ray of tokens, a deliberate fault for teaching, a custom template."""

from __future__ import annotations

import json

import pytest
from browser import Window, check, close_windows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(empty_lab, browser):
    yield browser, empty_lab
    close_windows(browser)


def smoke_window(served, **kinds) -> Window:
    browser, address = served
    return smoke(Window(browser, address, **kinds))


def smoke(window: Window) -> Window:
    window.tab("Train")
    check(window.page.get_by_role("radio", name="smoke"))
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")
    window.tab("Format")
    return window


def choose_once_offered(window: Window, selector: str, name: str) -> None:
    """Open a list again and again until the choice is in it, and click it."""
    option = window.page.get_by_role("option", name=name)
    for _ in range(20):
        window.page.click(selector)
        window.page.wait_for_timeout(500)
        if option.count():
            option.click()
            return
        window.page.keyboard.press("Escape")
        window.page.locator("#format-sentence").click()
    raise AssertionError(f"{name} is not offered")


def shows(window: Window, condition: str) -> None:
    """Wait until a JavaScript condition holds for ``text``, the text of the grid of tokens."""
    text = "document.querySelector('#format-tokens .token-grid')?.innerText"
    window.page.wait_for_function(f"() => {{ const text = {text}; return {condition}; }}")


def below(window: Window, selector: str) -> float:
    """The lower edge of an element, in pixels from the top of the page."""
    box = window.page.locator(selector).bounding_box()
    return box["y"] + box["height"]


def test_the_first_row_is_there_on_arrival_follows_every_choice_and_is_walked(served):
    browser, address = served
    window = Window(browser, address)
    window.page.set_viewport_size({"width": 1280, "height": 800})
    window.tab("Format")
    grid = "#format-tokens .token-grid"
    window.page.wait_for_selector(f"{grid} .token")
    assert "21 of 42 tokens carry loss" in window.text("#format-sentence")
    assert window.page.locator(f"{grid} .token").count() == 42
    assert max(below(window, each) for each in (grid, "#format-tokens .token-line", "#format-next")) < 800
    assert "press" not in window.text("#format-workbench").lower()
    assert not window.page.is_visible("#format-show")
    window.shot("format-arrival")
    smoke(window)
    # The tiny model has another tokenizer, and needs no download.
    window.page.wait_for_selector("#format-note", state="hidden")
    shows(window, f"document.querySelectorAll('{grid} .token').length > 42")
    first = window.text(grid)
    window.page.click("#format-following")
    shows(window, f"text !== {json.dumps(first)}")
    window.page.click("#format-previous")
    shows(window, f"text === {json.dumps(first)}")
    # A mistake is one sentence, and what was typed stays.
    window.page.fill("#format-row input", "99")
    window.wait_text("#format-sentence", "There is no training row 99: they go from 1 to 16.")
    assert window.value("#format-row") == "99"
    window.page.fill("#format-row input", "1")
    shows(window, f"text === {json.dumps(first)}")
    check(window.page.get_by_role("radio", name="alpaca"))
    shows(window, "text.replaceAll('\\n', '').startsWith('Below')")
    window.tab("Text")
    assert window.value("#format-prompt").startswith("Below is an instruction")
    window.tab("Tokens")
    check(window.page.get_by_role("radio", name="lesson"))
    shows(window, f"text === {json.dumps(first)}")

    # Tokens are walked by keyboard, and described.
    window.page.locator("#format-tokens .token-grid .token").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        window.page.keyboard.press(key)
    assert "Token 2 of" in window.text("#format-tokens .token-line")
    assert "no loss" in window.text("#format-tokens .token-line")
    learned = window.page.locator("#format-tokens .token-grid .token.loss .text").all_inner_texts()
    assert learned[-1] == "<|im_end|>"
    window.fold("Broken on purpose, for teaching")
    check(window.page.get_by_label("EOS taken for padding"))
    window.wait_text("#format-lesson", "never learns to stop")
    broken = window.page.locator("#format-broken-tokens .token-grid .token.loss")
    assert broken.count() == len(learned) - 1
    window.shot("format-xray")

    window.tab("Batch")
    window.wait_text("#batch-sentence", "Step 1 of")
    # In step 1 every row is too long to share a pass with another.
    window.page.fill("#batch-step input", "2")
    window.wait_text("#batch-sentence", "Step 2 of")
    segments = window.page.locator("#batch-grid .segment")
    segments.first.focus()
    window.page.keyboard.press("ArrowRight")
    assert window.text("#batch-grid .border-line") == segments.nth(1).get_attribute("aria-label")
    # Positions restart at the border between two rows.
    positions = window.page.locator("#batch-grid .wall + .end-token .position").all_inner_texts()
    assert positions
    assert set(positions) == {"0"}
    window.shot("format-batch")
    assert window.errors == []


@pytest.mark.nightly
def test_a_template_is_written_with_its_faults_shown_and_kept_for_the_next_visit(served):
    window = smoke_window(served)
    check(window.page.get_by_role("radio", name="custom"))
    window.page.wait_for_selector("#template-without-input textarea", state="visible")
    window.wait_text("#format-sentence", "tokens carry loss")
    window.page.fill("#template-without-input textarea", "{instruction.__class__}")
    window.wait_text("#template-state", "unknown placeholder")
    window.page.fill("#template-without-input textarea", "Q: {instruction}\nA: ")
    window.wait_text("#template-state", "complete")
    # The shown row follows the template while it is typed.
    shows(window, "text?.startsWith('Q')")
    window.page.fill("#template-name input, #template-name textarea", "q and a")
    window.page.click("#template-keep")
    window.page.wait_for_function("document.querySelector('#template-kept input').value === 'q and a'")
    assert window.errors == []
    window.again()
    window.tab("Format")
    # For "custom" the editor opens by itself.
    check(window.page.get_by_role("radio", name="custom"))
    window.page.wait_for_selector("#template-kept input", state="visible")
    check(window.page.get_by_role("radio", name="lesson"))
    choose_once_offered(window, "#template-kept input", "q and a")
    window.page.wait_for_function("document.querySelector('#template-without-input textarea').value.startsWith('Q:')")
    window.page.wait_for_function("document.querySelector('#format-template input[value=custom]').checked")
