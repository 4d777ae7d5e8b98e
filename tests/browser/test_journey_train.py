"""Following a run in a real browser: the plot, the answers beside it, the announcements; on a phone too."""

from __future__ import annotations

import itertools
import re

import pytest
from browser import Window, check, close_windows, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    with serving(tmp_path_factory.mktemp("train") / "data") as address:
        yield browser, address
        close_windows(browser)


def plot(window: Window, question: str):
    """The value of ``question``, a JavaScript expression of ``p``, the drawn plot."""
    return window.page.evaluate(f"(p => {question})(document.querySelector('#train-chart .loss-plot'))")


def test_a_run_is_followed(served):
    browser, address = served
    window = Window(browser, address)
    window.preset("smoke")
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")
    window.page.get_by_label("Epochs", exact=True).fill("8")
    window.more_settings("Measuring and checkpoints")
    check(window.page.get_by_label("Keep the best"))
    script = """
      window.said = []; window.titles = [];
      const region = document.querySelector('#announcer .announcer');
      new MutationObserver(() => window.said.push(region.textContent)).observe(region, {childList: true});
      new MutationObserver(() => window.titles.push(document.title))
        .observe(document.querySelector('title'), {childList: true});
    """
    window.page.evaluate(script)
    window.page.click("#train-start")
    window.wait_text("#train-status", "finished")
    window.wait_text("#train-checkpoints", "Adapter kept")

    window.page.wait_for_function("document.title === 'done · Instruction-Tuning Lab'")
    window.page.wait_for_function("window.said.at(-1) === 'The run is done.'")
    *going, _ = window.page.evaluate("window.said")
    assert going
    assert all(re.fullmatch(r"[a-z]+, \d*0% done", line) for line in going), going
    assert all(before != after for before, after in itertools.pairwise(going))
    *going, _ = window.page.evaluate("window.titles")
    assert going
    assert all(re.fullmatch(r"\d+% · Instruction-Tuning Lab", title) for title in going), going

    assert window.value("#train-prompt")
    assert window.value("#train-expected")
    answers = window.value("#train-answers")
    assert answers.startswith("— step 32, ")
    assert "— step 0, " in answers
    assert "Held-out loss" in window.text("#train-loss")
    assert plot(window, "p.getAttribute('aria-label')").startswith("Held-out loss")
    assert plot(window, "p.data[0].x") == list(range(1, 33))
    assert plot(window, "p.querySelector('.loss-empty')") is None

    assert plot(window, "p.layout.yaxis.type") == "linear"
    check(window.page.get_by_label("Logarithmic loss axis"))
    window.page.wait_for_function("document.querySelector('#train-chart .loss-plot').layout.yaxis.type === 'log'")

    window.fold("This run's configuration")
    sentence = window.wait_text("#train-difference", "smoke")
    assert "train.load_best_model_at_end true" in sentence
    window.wait_text("#train-config", "tiny-random")
    window.shot("train-followed")
    assert window.errors == []

    # A window opened later shows the same, and announces no past event.
    later = Window(browser, address)
    later.tab("Train")
    later.wait_text("#train-status", "step 32 of 32")
    assert later.page.title() == "Instruction-Tuning Lab"
    assert later.text("#announcer .announcer") == ""
    assert later.value("#train-answers") == answers

    later.tab("Runs")
    later.page.click('#runs-table [data-testid="cell-0-0"]')
    later.page.click("#runs-further:enabled")
    later.wait_text("#train-parent-name", "begins with its adapter")
    later.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny-random')")
    later.page.get_by_label("Epochs", exact=True).fill("1")
    later.page.fill("#run-name input, #run-name textarea", "further")
    later.page.click("#train-start")
    later.wait_text("#strip", "further: finished")
    assert "Begins with the adapter of" in later.value("#train-events")
    later.page.click("#train-parent-clear")
    later.page.wait_for_selector("#train-parent", state="hidden")
    later.tab("Runs")
    later.wait_text("#runs-table", "further (from ")


def test_on_a_phone_nothing_is_wider_than_the_screen(served):
    browser, address = served
    window = Window(browser, address)
    window.page.set_viewport_size({"width": 390, "height": 844})
    window.preset("smoke")
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")
    window.page.fill("#run-name input, #run-name textarea", "on a phone")
    window.page.click("#train-start")
    window.wait_text("#strip", "on a phone")
    window.wait_text("#train-status", "finished")
    for theme in ("light", "dark"):
        window.go(f"{address}/?__theme={theme}")
        window.tab("Train")
        window.wait_text("#train-status", "finished")
        window.page.wait_for_function("document.querySelector('#train-chart .loss-plot')?.data?.length >= 3")
        assert window.page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
        assert window.page.evaluate("document.documentElement.scrollWidth") <= 390
        # The answers stand below the plot, not beside it.
        chart, answers = (
            window.page.locator(selector).bounding_box() for selector in ("#train-chart", "#train-answers")
        )
        assert answers["y"] > chart["y"] + chart["height"]
        assert chart["width"] > 300
        window.shot(f"train-phone-{theme}")
