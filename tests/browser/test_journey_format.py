"""The Format tab in a real browser: the X-ray of tokens, a deliberate fault for teaching, a custom template."""

from __future__ import annotations

import json

import pytest
from browser import Window, check, close_windows, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    with serving(tmp_path_factory.mktemp("format") / "data") as address:
        yield browser, address
        close_windows(browser)


def smoke_window(served, **kinds) -> Window:
    browser, address = served
    window = Window(browser, address, **kinds)
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


def test_tokens_are_walked_by_keyboard_and_told(served):
    window = smoke_window(served)
    window.page.click("#format-show")
    window.wait_text("#format-sentence", "tokens carry loss")
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

    window.fold("How rows become a batch")
    # In step 1 every row is too long to share a pass with another.
    window.page.fill("#batch-step input", "2")
    window.page.click("#batch-show")
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


def test_a_template_is_written_with_its_faults_told_and_kept_for_the_next_visit(served):
    window = smoke_window(served)
    check(window.page.get_by_role("radio", name="custom"))
    window.page.wait_for_selector("#template-without-input textarea", state="visible")
    window.wait_text("#format-sentence", "tokens carry loss")
    window.page.fill("#template-without-input textarea", "{instruction.__class__}")
    window.wait_text("#template-state", "unknown placeholder")
    window.page.fill("#template-without-input textarea", "Q: {instruction}\nA: ")
    window.wait_text("#template-state", "complete")
    # The shown row follows the template while it is typed.
    window.page.wait_for_function("document.querySelector('#format-tokens .token-grid')?.innerText.startsWith('Q')")
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


def test_hostile_rows_are_text_in_the_grid(served, tmp_path):
    evil = "<img src=x onerror=window.hacked=1>${window.hacked=1}</script><script>window.hacked=1</script>\u202e\u0007"
    rows = [{"instruction": f"{evil} {n}", "input": "", "output": f"{evil}{n}"} for n in range(20)]
    file = tmp_path / "evil.json"
    file.write_text(json.dumps(rows))
    window = smoke_window(served)
    window.tab("Data")
    window.page.set_input_files("#data-upload input[type=file]", str(file))
    window.wait_text("#data-summary", "20 rows")
    window.tab("Format")
    window.page.click("#format-show")
    window.wait_text("#format-sentence", "tokens carry loss")
    shown = window.page.locator("#format-tokens .token-grid .text").all_inner_texts()
    assert "<img·src=x" in "".join(shown)
    assert window.page.evaluate("window.hacked") is None
