"""The page by the changed scripts is the page that gradio's own make."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Window
from gradio.route_utils import BUILD_PATH_LIB

from instruct_tune.ui.gradio_scripts import scripts

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

TABS = ("Data", "Format", "Train", "Compare", "Evaluate", "Runs", "Experiments")
CONTROLS = """() => [...document.querySelectorAll('#tabs input, #tabs textarea, #tabs button')]
    .filter(each => each.offsetParent)
    .map(each => [each.ariaLabel ?? each.innerText, each.type, each.value, each.checked, each.disabled].join())"""


def drawn(window):
    """Text and controls of each tab, once they stay as they are."""
    shown = {}
    for name in TABS:
        window.tab(name)
        before = None
        while before is None or before != shown[name]:
            before = shown.get(name)
            window.page.wait_for_timeout(1500)
            shown[name] = (window.text("#tabs"), window.page.evaluate(CONTROLS))
    return shown


def test_every_tab_is_as_with_gradios_own_scripts(new_lab, browser):
    window = Window(browser, new_lab)
    changed = drawn(window)
    own = []
    for name in scripts():

        def handle(route, request, name=name):
            own.append(name)
            route.fulfill(path=Path(BUILD_PATH_LIB) / name)

        window.page.context.route(f"**/assets/{name}", handle)
    window.close()
    window = Window(browser, new_lab)
    window.page.context.unroute_all()
    gradios = drawn(window)
    assert sorted(own) == sorted(scripts())
    assert changed == gradios
    assert all(len(controls) > 10 for _, controls in changed.values())
