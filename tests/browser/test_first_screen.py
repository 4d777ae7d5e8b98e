"""What a stranger sees: every tab of a lab that has just started, on a laptop's screen, before anything is pressed."""

from __future__ import annotations

import re

import pytest
from at_night import at_night_after
from browser import Window

from instruct_tune.ui.train.settings_form import FOLDS

pytestmark = pytest.mark.slow

HEIGHT = 800
WHOLE = {
    "Data": ["#data-summary", "#data-rows [data-testid=cell-5-1]", "#data-next"],
    "Format": ["#format-sentence", "#format-tokens .token >> nth=-1", "#format-next"],
    "Train": ["#train-start", "#train-chart .loss-plot", "#train-scrubber input"],
    "Compare": ["#compare-ask", "#compare-expected", "#compare-base", "#compare-tuned"],
    "Evaluate": ["#evaluate-start", "#evaluate-sentence", "#evaluate-plot"],
    "Runs": ["#runs-open", "#runs-table [data-testid=cell-2-0]", "#runs-plot .loss-plot"],
    "Experiments": ["#experiments-reveal", ".exp-question", ".exp-choices input >> nth=2"],
}
"""What is on each tab's first screen from its top to its lower edge."""
PLEA = re.compile(r"\bpress\b[^.]*\bfirst\b|nothing (is )?(shown|loaded|searched) yet", re.IGNORECASE)


@pytest.fixture
def window(new_lab, browser):
    """A stranger's page."""
    return Window(browser, new_lab, viewport={"width": 1280, "height": HEIGHT})


def test_every_tab_shows_what_it_is_for(window):
    for name, parts in WHOLE.items():
        window.tab(name)
        for part in parts:
            box = window.page.wait_for_selector(part).bounding_box()
            assert box["y"] >= 0, (name, part)
            assert box["y"] + box["height"] <= HEIGHT, (name, part, box)
        shown = window.page.locator("#tabs > [role=tabpanel]").filter(visible=True).inner_text()
        assert not PLEA.search(shown), (name, PLEA.search(shown))
        if name == "Train":
            assert window.page.locator("#train-chart .loss-plot").bounding_box()["height"] >= 340
    # An open page does not grow by itself; Plotly, which Train asks for, adds its styles once.
    window.page.wait_for_selector("#train-chart .plot-container", state="attached")
    elements = "document.querySelectorAll('head *').length"
    before = window.page.evaluate(elements)
    window.page.wait_for_timeout(3000)
    assert window.page.evaluate(elements) == before
    assert window.errors == []


VIEWS = {
    "Answers": ("Compare", ["#compare-source", "#compare-texts .cm-content"]),
    "Why": ("Read token by token", ["#compare-source", "#compare-why-map .heat-base tr"]),
    "Search": ("Search", ["#compare-source", "#compare-search-tokens", "#compare-search-beams .tuned .node"]),
    "Effect": ("Measure the effect", ["#compare-effect-norms .norm-bars span"]),
    "Many": ("Answer all", ["#compare-many-asked", "#compare-many-table [data-testid=cell-0-1]"]),
}
"""Of each of Compare's views the only button below the left pane, and what is there before anybody asks."""


@pytest.mark.parametrize("width", at_night_after(0, [390, 1280]))
def test_each_view_of_compare_has_its_own_button_and_an_example(new_lab, browser, width):
    window = Window(browser, new_lab, viewport={"width": width, "height": HEIGHT})
    window.tab("Compare")
    left = window.page.locator("#compare-workbench > .left")
    for name, (button, parts) in VIEWS.items():
        window.tab(name)
        for part in parts:
            window.page.locator(part).first.wait_for()
        assert left.locator(".act button").filter(visible=True).all_inner_texts() == [button]
        shown = {part for _, named in VIEWS.values() for part in named if left.locator(part).is_visible()}
        assert shown == {part for part in parts if left.locator(part).count()}, name
    assert window.errors == []


def test_without_javascript_the_page_says_what_it_needs(browser, new_lab):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(new_lab)
    assert "needs JavaScript" in page.inner_text("body")
    context.close()


@pytest.mark.nightly
def test_opening_every_fold_of_train_changes_no_setting(window):
    window.tab("Train")
    for name in ("More settings", *FOLDS):
        window.fold(name)
    # A change that is none, so that the page reads the whole form.
    window.page.fill("#train-rows input", "47")
    window.page.locator("#train-rows input").press("Tab")
    assert window.wait_text("#preset-changed", "Changed") == "Changed from minute: rows 48 → 47"
    window.page.fill("#train-rows input", "")
    window.page.locator("#train-rows input").press("Tab")
    assert window.wait_text("#preset-changed", "all") == "Changed from minute: rows 48 → all"


@pytest.mark.nightly
def test_requests_search_the_page_for_what_is_not_drawn_alone(new_lab, browser):
    """What gradio keeps the progress of is searched for in the whole page, twice with each request; so is what it
    updates, and that is nothing else where a poll brings nothing new. Nor does an idle page draw."""
    page = browser.new_context().new_page()
    page.add_init_script(
        "const draw = window.requestAnimationFrame;"
        "window.requestAnimationFrame = then => { window.frames_drawn++; return draw.call(window, then) };"
    )

    def exposed(method, statement):
        def handle(route):
            answer = route.fetch()
            assert answer.text().count(method) == 1
            route.fulfill(response=answer, body=answer.text().replace(method, method + statement))

        return handle

    page.route(
        "**/assets/Blocks-*.js", exposed("async update_loading_stati_state(){", "window.kept=this.loading_stati;")
    )
    page.route("**/assets/core-*.js", exposed("async update_state(e,t,n=!0){", "(window.updated??=[]).push(e);"))
    with page.expect_response(lambda answer: answer.url.endswith("/run/predict") and answer.status == 200):
        page.goto(new_lab)
    page.wait_for_function("document.querySelector('#strip')?.innerText")
    page.wait_for_timeout(3000)
    kept = page.evaluate("Object.keys(window.kept.current).map(Number)")
    state = page.evaluate("window.gradio_config.components.find(each => each.type === 'browserstate').id")
    assert kept == [state]
    page.evaluate("window.updated = []")
    with page.expect_response("**/run/predict"):
        pass
    with page.expect_response("**/run/predict"):
        pass
    updated = page.evaluate("window.updated")
    assert set(updated) == {state}
    assert len(updated) <= 6
    # Nor is anything drawn meanwhile: a page that draws each frame asks 180 times.
    page.evaluate("window.frames_drawn = 0")
    page.wait_for_timeout(3000)
    assert page.evaluate("window.frames_drawn") <= 20
    page.context.close()
