"""The panel Learn: all nine steps by keyboard alone, and paths that others wrote."""

from __future__ import annotations

import pytest
from browser import Window, close_windows, serving
from test_journey_keyboard import press, reach

from instruct_tune.lesson.library import own_path

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=\"window.harmed='yes'\"> ${window.harmed='yes'} [a](javascript:alert(1))"
TEACHERS = f"""path: Week one {HOSTILE}

# First {HOSTILE[:60]}
tab: Train
sets: lora.r = 8
marks: lora.r

Read {HOSTILE} with **bold** and `code`.

Do: {HOSTILE}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    data_dir = tmp_path_factory.mktemp("learn") / "data"
    (data_dir / "paths").mkdir(parents=True)
    (data_dir / "paths" / "week1.md").write_text(TEACHERS)
    with serving(data_dir) as address:
        yield browser, address
        close_windows(browser)


RECORD = """() => {
    // What the page has in all controls that a step may set, at each action of the panel.
    const apply = window.labPath.apply;
    window.seen = [];
    window.labPath.apply = inputs => {
        window.seen.push(inputs.slice(1));
        return apply(inputs);
    };
    window.isInSight = place => {
        const box = place.getBoundingClientRect(), panel = document.querySelector('#path').getBoundingClientRect();
        return box.bottom > 0 && box.top < (panel.left ? innerHeight : panel.top);
    };
}"""
# What stands in every control that is drawn, by the element around it that has an id.
DRAWN = """() => Object.fromEntries([...document.querySelectorAll('#tabs input, #tabs textarea')].map((box, at) => {
    const around = box.closest('#tabs [id]');
    const place = [...around.querySelectorAll('input, textarea')].indexOf(box);
    return [`${around.id} ${place}`, ['checkbox', 'radio'].includes(box.type) ? box.checked : box.value];
}))"""
IS_MARKED = """id => {
    const place = document.getElementById(id);
    return place?.offsetParent && getComputedStyle(place).outlineStyle === 'solid' && isInSight(place);
}"""


def open_panel(window: Window) -> None:
    press(window, "#path-open")
    window.page.wait_for_selector("#path h2:focus")
    window.page.evaluate(RECORD)


def acted(window: Window, selector: str) -> list:
    """Press a button of the panel; returns the values that the controls had before."""
    number = window.page.evaluate("window.seen.length")
    press(window, f"#path {selector}")
    window.page.wait_for_function("number => window.seen.length > number", arg=number)
    return window.page.evaluate("window.seen.at(-1)")


def chosen_step(window: Window) -> str:
    return window.page.eval_on_selector("#path .of", "steps => steps.selectedOptions[0].textContent")


def show_step(window: Window, place: str) -> list:
    before = acted(window, ".demo")
    window.page.wait_for_function(IS_MARKED, arg=place)
    assert window.text("#path .demo") in ("Put it back", "Hide the marks")
    return before


def test_nine_steps_by_keyboard_change_nothing(served):
    browser, address = served
    window = Window(browser, address)
    for tab in ("Data", "Format", "Train", "Compare", "Evaluate"):
        window.tab(tab)
    drawn = window.page.evaluate(DRAWN)
    open_panel(window)
    befores, shown = [], 0
    for at, step in enumerate(own_path().steps):
        assert chosen_step(window) == f"Step {at + 1} of 9: {step.title}"
        assert window.text("#path h2") == step.title
        befores.append(show_step(window, step.points_at[0]))
        window.wait_text("#path .announced", f"Opened {step.tab}")
        assert window.page.get_attribute(f'button[data-tab-id="{step.tab}"]', "aria-selected") == "true"
        if step.notices:
            window.page.wait_for_function("document.querySelector('#path .noticed').textContent.match(/[0-9]/)")
        # Every second step is left without putting it back.
        if at % 2:
            shown += acted(window, ".demo") != befores[0]
        if at < 8:
            acted(window, ".forward")
            window.page.wait_for_selector("#path h2:focus")
            window.wait_text("#path .announced", f"Step {at + 2} of 9")
    acted(window, ".close")
    window.page.wait_for_selector("#path", state="detached")
    assert window.page.evaluate("document.activeElement.id") == "path-open"
    assert window.text("#path-open") == "Learn · 9"
    assert befores == [befores[0]] * 9
    assert shown >= 2
    after = window.page.evaluate(DRAWN)
    assert {name: after.get(name) for name in drawn} == drawn
    assert window.errors == []


def number_of(window: Window, selector: str) -> str:
    return window.page.input_value(f"{selector} input[type=number]")


@pytest.mark.nightly
def test_a_change_by_hand_stays_and_a_reload_forgets_what_was_shown(served):
    browser, address = served
    window = Window(browser, address)
    open_panel(window)
    for _ in range(4):
        acted(window, ".forward")
    show_step(window, "train-cost")
    epochs = "#setting-train-num_train_epochs".replace("_", "-")
    assert number_of(window, epochs) == "3"
    window.page.fill(f"{epochs} input", "5")
    window.page.fill("#train-learning-rate input", "0.004")
    acted(window, ".demo")
    window.page.wait_for_function("document.querySelector('#path .demo').textContent === 'Show me'")
    assert [number_of(window, each) for each in (epochs, "#train-learning-rate")] == ["5", "0.004"]
    acted(window, ".backward")
    show_step(window, "train-cost")
    window.page.wait_for_function("document.querySelector('#train-rank input[type=number]').value === '64'")
    # The browser keeps the form a moment after a change.
    window.page.wait_for_timeout(1000)
    window.again()
    # It opens again where it was left, and takes no focus.
    window.page.wait_for_selector("#path h2:has-text('LoRA')")
    assert window.page.evaluate("document.activeElement.tagName") == "BODY"
    window.tab("Train")
    assert [number_of(window, each) for each in ("#train-rank", epochs)] == ["16", "5"]
    assert window.errors == []


@pytest.mark.nightly
def test_on_a_phone_the_panel_leaves_the_upper_half_where_the_result_is(served):
    browser, address = served
    window = Window(browser, address, 390)
    window.page.set_viewport_size({"width": 390, "height": 844})
    open_panel(window)
    top = window.page.evaluate("document.querySelector('#path').getBoundingClientRect().top")
    assert top > 400
    for step in own_path().steps[:4]:
        show_step(window, step.points_at[0])
        acted(window, ".forward")
    reach(window, "#path .close")
    window.page.keyboard.press("Escape")
    window.page.wait_for_selector("#path", state="detached")
    assert window.errors == []


@pytest.mark.nightly
@pytest.mark.parametrize("link", ["week1", pytest.param("https://teacher.example/week1.md", marks=pytest.mark.nightly)])
def test_the_text_of_others_is_text(served, link):
    browser, address = served
    window = Window(browser, address)
    window.page.route(
        "https://teacher.example/**",
        lambda route: route.fulfill(body=TEACHERS, headers={"Access-Control-Allow-Origin": "*"}),
    )
    window.go(f"{address}/?path={link}")
    # Those of the page that was left.
    window.errors.clear()
    window.page.wait_for_selector("#path h2:focus")
    assert chosen_step(window).startswith("Step 1 of 1: ")
    assert window.text("#path .said") == f"Read {HOSTILE} with bold and code."
    assert HOSTILE in window.text("#path .task")
    assert ("teacher.example" if ":" in link else "this lab's host") in window.text("#path .origin")
    assert window.page.query_selector("#path img, #path a:not([href='room'])") is None
    assert window.page.evaluate("window.harmed") is None
    assert window.errors == []


@pytest.mark.nightly
def test_a_path_that_cannot_be_had_is_explained_above_the_labs_own(served):
    browser, address = served
    window = Window(browser, address)
    for link, why in (
        ("https://teacher.example/week2.md", "there was no answer within 10 s that this page may read"),
        ("http://127.0.0.1/week1.md", "only https addresses are opened"),
        ("../week1", "This lab has no path ../week1"),
    ):
        window.page.route("https://teacher.example/**", lambda route: route.abort())
        window.go(f"{address}/?path={link}")
        window.wait_text("#path .origin", why)
        assert chosen_step(window).startswith("Step 1 of 9: ")
