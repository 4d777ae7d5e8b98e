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


DRAG = """place => {
    const slider = document.querySelector('#train-scrubber input');
    slider.value = place;
    slider.dispatchEvent(new Event('input'));
    return document.querySelector('#train-scrubber .scrub-step').innerText;
}"""
"""Drag the slider and read what it shows in one task of the browser, in which no response can arrive."""


def a_training_is_scrubbed(window: Window, last: int) -> None:
    """Each place of the slider shows its own step, from the browser's own data, and marks it in the plot."""
    page = window.page
    assert window.text("#train-scrubber .scrub-question")
    assert window.text("#train-scrubber .scrub-expected")
    prompts = page.locator("#train-scrubber .scrub-prompts button").all_inner_texts()
    assert [text.split(":")[0] for text in prompts] == ["Held-out"] * 3 + ["Training row"]
    window.wait_text("#train-scrubber .scrub-step", f"Step {last} of {last}")
    newest = window.text("#train-scrubber .scrub-numbers")
    assert "general loss" in newest
    assert page.evaluate(DRAG, 0) == f"Step 0 of {last}"
    assert window.text("#train-scrubber .scrub-numbers") != newest
    assert window.text("#train-scrubber .scrub-title").lower().startswith("answer at step 0")
    marks = "p.layout.shapes.filter(shape => shape.name === 'scrub').map(shape => shape.x0)"
    assert plot(window, marks) == [0]
    best = page.locator("#train-scrubber .scrub-best button").first
    best.click()
    assert plot(window, marks) == [int(best.inner_text().split()[-1])]
    page.focus("#train-scrubber input")
    page.keyboard.press("End")
    window.wait_text("#train-scrubber .scrub-step", f"Step {last} of {last}")


def test_a_run_is_followed(served):
    browser, address = served
    window = Window(browser, address)
    window.preset("smoke")
    window.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny')")
    window.page.get_by_label("Epochs", exact=True).fill("8")
    window.more_settings("Measuring and checkpoints")
    check(window.page.get_by_label("Keep the best"))
    script = """
      window.announced = []; window.titles = [];
      const region = document.querySelector('#announcer .announcer');
      new MutationObserver(() => window.announced.push(region.textContent)).observe(region, {childList: true});
      new MutationObserver(() => window.titles.push(document.title))
        .observe(document.querySelector('title'), {childList: true});
    """
    window.page.evaluate(script)
    window.page.click("#train-start")
    window.wait_text("#train-status", "finished · step 32 of 32")
    window.wait_text("#train-checkpoints", "Adapter kept")

    window.page.wait_for_function("document.title === 'done · Instruction-Tuning Lab'")
    window.page.wait_for_function("window.announced.at(-1) === 'The run is done.'")
    *going, _ = window.page.evaluate("window.announced")
    assert going
    assert all(re.fullmatch(r"[a-z]+, \d*0% done", line) for line in going), going
    assert all(before != after for before, after in itertools.pairwise(going))
    *going, _ = window.page.evaluate("window.titles")
    assert going
    assert all(re.fullmatch(r"\d+% · Instruction-Tuning Lab", title) for title in going), going

    a_training_is_scrubbed(window, 32)
    assert "Held-out loss" in window.text("#train-loss")
    assert plot(window, "p.getAttribute('aria-label')").startswith("Held-out loss")
    assert plot(window, "p.data[0].x") == list(range(1, 33))
    assert plot(window, "p.querySelector('.loss-empty')") is None

    assert plot(window, "p.layout.yaxis.type") == "linear"
    check(window.page.get_by_label("Logarithmic loss axis"))
    window.page.wait_for_function("document.querySelector('#train-chart .loss-plot').layout.yaxis.type === 'log'")

    window.tab("Configuration")
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
    later.wait_text("#train-scrubber .scrub-step", "Step 32 of 32")

    later.tab("Runs")
    later.page.click('#runs-table [data-testid="cell-0-0"]')
    later.page.click("#runs-further:enabled")
    later.wait_text("#train-parent-name", "begins with its adapter")
    # In the browser's storage by now.
    later.page.wait_for_function("document.querySelector('#train-parent-run textarea, #train-parent-run input').value")
    later.page.wait_for_timeout(500)
    later.again()
    later.tab("Train")
    later.wait_text("#train-parent-name", "begins with its adapter")
    later.page.wait_for_function("document.querySelector('#strip').innerText.includes('tiny-random')")
    later.page.get_by_label("Epochs", exact=True).fill("1")
    later.page.fill("#run-name input, #run-name textarea", "further")
    later.page.click("#train-start")
    later.wait_text("#strip", "further: finished")
    later.tab("Events")
    assert "Begins with the adapter of" in later.value("#train-events")
    later.page.click("#train-parent-clear")
    later.page.wait_for_selector("#train-parent", state="hidden")
    later.page.wait_for_timeout(500)
    later.again()
    later.tab("Train")
    later.page.wait_for_selector("#train-start:enabled")
    later.page.wait_for_timeout(1000)
    assert later.page.locator("#train-parent").is_hidden()
    later.tab("Runs")
    later.wait_text("#runs-table", "further (from ")


TOPS = "elements => elements.map(element => Math.round(element.getBoundingClientRect().top))"
HEIGHTS = "elements => elements.map(element => element.getBoundingClientRect().height)"
VISIBLE = "p.data.filter(line => (line.visible ?? true) === true).map(line => line.uid)"
"""The lines that are drawn, as an expression for ``plot``."""


@pytest.mark.nightly
def test_a_run_that_waits_shows_nothing_of_the_run_before(served):
    browser, address = served
    window = Window(browser, address)
    page = window.page
    window.preset("smoke")
    labels = page.locator("#few-controls [data-testid=block-info]").filter(has_text=re.compile("Training rows|Epochs"))
    assert len(set(labels.evaluate_all(TOPS))) == 1
    page.get_by_label("Epochs", exact=True).fill("1000")
    page.fill("#run-name input, #run-name textarea", "the first")
    page.click("#train-start")
    window.wait_text("#train-status", "the first: running · training")
    # The axis and the slider count all steps, of which few are done.
    window.wait_text("#train-scrubber .scrub-step", "of 4000")
    page.wait_for_function("document.querySelector('#train-chart .loss-plot').layout.xaxis.range?.[1] >= 4000")
    for chips in ("best", "prompts"):
        assert len(set(page.locator(f"#train-scrubber .scrub-{chips} button").evaluate_all(HEIGHTS))) == 1
    # A line that the visitor shows or hides stays so at the next poll.
    page.wait_for_function("document.querySelector('#train-chart .loss-plot').data.some(line => line.uid === 'eval')")
    assert plot(window, VISIBLE) == ["train", "probe"]
    entry = page.locator("#train-chart .legend .traces").filter(has_text="evaluation rows")
    for _ in range(10):
        if "eval" in plot(window, VISIBLE):
            break
        # By its place: each poll draws the legend anew.
        box = entry.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(1000)
    last = plot(window, "p.data[0].x.at(-1)")
    page.wait_for_function(f"document.querySelector('#train-chart .loss-plot').data[0].x.at(-1) > {last + 20}")
    assert plot(window, VISIBLE) == ["train", "eval", "probe"]

    # The name is the first run's alone.
    assert window.value("#run-name") == ""
    page.get_by_label("Epochs", exact=True).fill("2")
    page.click("#train-start")
    status = window.wait_text("#train-status", "Next in line")
    assert re.match(r"smoke, \d\d:\d\d: queued", status)
    assert re.search(r"Run smoke, \d\d:\d\d: queued", window.wait_text("#strip", ": queued"))
    assert window.wait_text("#train-scrubber", "Nothing measured yet").strip().endswith("with the first probe.")
    assert not page.locator("#train-scrubber .scrubber").is_visible()
    page.click("#train-discard")
    page.click("#train-discard-yes")
    window.wait_text("#train-status", "deleted")
    window.again()
    window.tab("Train")
    window.wait_text("#train-status", "the first: running")
    page.click("#train-stop")
    window.wait_text("#train-status", "stopped")
    assert window.errors == []


@pytest.mark.nightly
def test_a_refused_start_keeps_the_name(served):
    browser, address = served
    window = Window(browser, address)
    window.preset("smoke")
    window.page.get_by_label("Epochs", exact=True).fill("0")
    window.page.fill("#run-name input, #run-name textarea", "mine")
    window.page.click("#train-start")
    window.page.wait_for_selector("[data-testid=toast-body]")
    window.page.wait_for_selector("#train-start:enabled")
    assert window.value("#run-name") == "mine"


@pytest.mark.nightly
def test_on_a_phone_nothing_is_wider_than_the_screen(served):
    browser, address = served
    window = Window(browser, address + "/?__theme=dark", width=390)
    window.preset("smoke")
    window.wait_text("#train-cost", "4 steps")
    window.wait_text("#train-cost", "about")
    window.page.wait_for_function("!document.querySelector('#preset-changed')?.innerText.trim()")
    assert window.page.evaluate("document.documentElement.scrollWidth") <= 390
    window.shot("cost-phone-dark")
    window.page.fill("#run-name input, #run-name textarea", "on a phone")
    window.page.click("#train-start")
    window.wait_text("#strip", "on a phone")
    controls = window.page.locator("#run-controls button:enabled")
    column = window.page.locator("#train-run").bounding_box()
    for box in controls.evaluate_all("buttons => buttons.map(button => button.getBoundingClientRect().right)"):
        assert box <= column["x"] + column["width"]
    window.wait_finished()
    for theme in ("dark", "light"):
        window.go(f"{address}/?__theme={theme}")
        window.tab("Train")
        window.wait_finished()
        window.page.wait_for_function("document.querySelector('#train-chart .loss-plot')?.data?.length >= 3")
        assert window.page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
        assert window.page.evaluate("document.documentElement.scrollWidth") <= 390
        # The answers stand below the plot, not beside it.
        chart, answers = (
            window.page.locator(selector).bounding_box() for selector in ("#train-chart", "#train-scrubber")
        )
        assert answers["y"] > chart["y"] + chart["height"]
        assert chart["width"] > 300
        # It would cover the legend.
        assert window.page.locator("#train-chart .modebar").count() == 0
        window.shot(f"train-phone-{theme}")
