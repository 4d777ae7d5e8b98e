"""A visitor guesses, draws and reveals on the Experiments tab, and takes the settings along."""

from __future__ import annotations

import re

import pytest
from browser import Server, Window, serving
from made_results import made_results

from instruct_tune.experiments.questions import EXPERIMENTS, MEASURES
from instruct_tune.ui.experiments import text

pytestmark = pytest.mark.slow

RESULTS = made_results(0.5)
PICKED, DRAWN = EXPERIMENTS["no-eos"], EXPERIMENTS["rate-high"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "program", ("-m", "support.experiments_app"))
        with serving(tmp_path_factory.mktemp("experiments") / "data", PYTHONPATH="tests") as address:
            yield address


@pytest.fixture
def window(served, browser):
    opened = Window(browser, served)
    opened.tab("Experiments")
    return opened


def choose(window, experiment):
    """Choose an experiment of the list by keyboard, and wait until its question is shown."""
    window.page.locator("#experiments-list label", has_text=experiment.title).locator("input").focus()
    window.page.keyboard.press("Space")
    window.wait_text(".exp-question", experiment.question)


def reveal(window):
    window.page.focus("#experiments-reveal")
    window.page.keyboard.press("Enter")


def test_a_guess_comes_before_the_answer_by_keyboard_alone(window):
    choose(window, PICKED)
    reveal(window)
    window.wait_text(".exp-help", "Pick one of the three first.")
    assert window.page.locator(".exp-effect").count() == 0
    assert window.page.evaluate("document.activeElement.name") == "exp-choice"
    window.page.keyboard.press("Space")
    window.page.keyboard.press("ArrowDown")
    value = text.view_value(RESULTS, PICKED)
    guessed, words = value["choices"][1]
    reveal(window)
    assert window.wait_text(".exp-effect", value["effect"]) == value["effect"]
    assert window.text(".exp-because") == value["because"]
    verdict = "So it was measured." if guessed == value["direction"] else "It was measured otherwise."
    assert window.text(".exp-verdict") == f"Your guess: {words}. {verdict}"
    assert window.page.get_attribute(".exp-chart", "aria-label") == value["description"]
    assert window.page.locator(".exp-seed").count() == 5
    # The guess outlives the tab, whose contents are built anew.
    window.tab("Data")
    window.tab("Experiments")
    choose(window, PICKED)
    assert window.text(".exp-effect") == value["effect"]
    assert window.errors == []


@pytest.mark.nightly
def test_a_curve_is_drawn_by_keyboard_and_by_mouse_and_tried(window):
    page, value = window.page, text.view_value(RESULTS, DRAWN)
    digits, start = MEASURES[DRAWN.measure].digits, value["mean"][0]
    choose(window, DRAWN)
    reveal(window)
    window.wait_text(".exp-help", "Draw a curve first")
    # The first point that can be moved has the focus.
    assert (
        page.evaluate("document.activeElement.getAttribute('aria-label')") == f"{value['name']} at {value['labels'][1]}"
    )
    for key in ("ArrowUp", "PageUp", "ArrowDown", "ArrowRight", "PageDown"):
        page.keyboard.press(key)
    # The axis is as high as the first point; a key moves a point by a hundredth or a tenth of it.
    up, down = (f"{start * factor:.{digits}f}" for factor in (1.1, 0.9))
    assert page.get_attribute("[data-at='1']", "aria-valuetext") == f"{value['labels'][1]}: {up} {value['unit']}"
    assert page.get_attribute("[data-at='2']", "aria-valuetext") == f"{value['labels'][2]}: {down} {value['unit']}"
    assert f"{value['labels'][1]} {up}, {value['labels'][2]} {down}" in window.text(".exp-curve")
    last = len(value["labels"]) - 1
    box = page.locator(".exp-chart").bounding_box()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + 0.2 * box["height"], steps=6)
    page.mouse.up()
    drawn = float(page.get_attribute(f"[data-at='{last}']", "aria-valuenow"))
    assert start < drawn < 1.5 * start
    assert page.locator(".exp-mean").count() == 0, "nothing is shown before Reveal"
    reveal(window)
    window.wait_text(".exp-effect", value["effect"])
    assert re.search(
        rf"ends at {drawn:.2f}\d*, the measured one at {value['mean'][-1]:.{digits}f}", window.text(".exp-verdict")
    )
    assert page.locator(".exp-seed").count() == 5
    assert page.locator(".exp-guess").count() == 1

    page.click("#experiments-try")
    rate = DRAWN.configured_arm.settings["train"]["learning_rate"]
    page.wait_for_function(f"Number(document.querySelector('#train-learning-rate input')?.value) === {rate}")
    window.wait_text("#preset-changed", "learning rate")
    assert window.errors == []
