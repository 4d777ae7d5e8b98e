"""Each exhibit of a live lab stands alone in the frame of another site's page, on a phone in the dark."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser import PATIENCE
from test_accessibility import findings

from instruct_tune.runs.examples import BEST
from instruct_tune.ui.exhibit import EXHIBITS, NOTE
from instruct_tune.ui.layout.exhibit_link import MISSING

pytestmark = pytest.mark.slow

SHOWS = {
    "xray": "#format-tokens [role=option], #format-tokens .token",
    "curve": "#train-chart .main-svg",
    "beams": "#compare-search-beams .trees svg",
    "compare": "#compare-tuned .cm-content",
}
OTHERS = """parts => [...document.querySelectorAll('.gradio-container *')]
    .filter(each => each.checkVisibility() && !each.children.length && each.tagName !== 'STYLE')
    .filter(each => !each.closest(parts))
    .filter(each => each.textContent.trim() || each.matches('button, input, textarea, select'))
    .map(each => each.outerHTML.slice(0, 200))"""
"""What is drawn, and neither part of the exhibit nor a box around one."""


@pytest.fixture
def other_site(tmp_path):
    """A folder, and the address under which another server shows it. It is the same site, so that storage is shared."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}/page.html"
    server.shutdown()


@pytest.mark.nightly
def test_each_exhibit_is_alone_in_the_frame_of_another_site(new_lab, browser, other_site):
    folder, address = other_site
    frames = {name: f"exhibit={name}&run={BEST}" for name in EXHIBITS} | {"gone": "exhibit=curve&run=gone", "lab": ""}
    texts = [
        f'<iframe name="{name}" title="{name}" width="100%" height="600" src="{new_lab}/?{query}"></iframe>'
        for name, query in frames.items()
    ]
    (folder / "page.html").write_text(f"<!doctype html><html lang='en'><title>A course</title>{''.join(texts)}")
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    for name, exhibit in EXHIBITS.items():
        frame = page.frame(name)
        frame.wait_for_selector(SHOWS[name])
        parts = ", ".join(f"#{part}" for part in exhibit.parts)
        assert frame.evaluate(OTHERS, parts) == [], name
        assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert findings(frame) == [], name
    assert page.frame("gone").wait_for_selector(f"#{NOTE}").inner_text() == MISSING
    assert page.frame("gone").evaluate(OTHERS, f"#{NOTE}") == []
    # The whole lab, where a click could delete something, is in no frame of another site.
    assert not page.frame("lab").url.startswith(new_lab)
    assert errors == []
    page.goto(f"{new_lab}/gradio_api/heartbeat-of-nobody")
    assert page.evaluate("localStorage.length") == 0
    context.close()
