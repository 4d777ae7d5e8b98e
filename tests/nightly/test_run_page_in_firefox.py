"""A run as one page, opened from a file in Firefox with the network off; see tests/browser/test_run_page_offline.py."""

from __future__ import annotations

import json

import pytest
from firefox import INSTALLED, firefox
from test_run_page_offline import ATTACK, HOSTILE, as_parsed, contents, file, with_hostile_texts

from instruct_tune.ui.run_page.page import page_html

pytestmark = pytest.mark.skipif(INSTALLED is None, reason="Firefox is not installed (Debian: firefox-esr)")

SHOWN = """{
    chart: document.querySelector('.loss-plot').data.map(line => [line.name, Array.from(line.y)]),
    tokens: document.querySelectorAll('#tokens-0 .token-grid .token').length,
    losses: document.querySelectorAll('#compare-why-map .heat-token').length,
    step: document.querySelector('.scrub-step').textContent,
    bleu: [...document.querySelectorAll('#numbers tbody tr:first-child td')].map(cell => cell.textContent),
    values: JSON.parse(document.getElementById('values').textContent),
    resources: performance.getEntriesByType('resource').map(entry => entry.name),
}"""


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with firefox(tmp_path_factory.mktemp("firefox") / "profile") as window:
        yield window


@pytest.fixture
def open_page(window):
    """Opens a run's page with all its folds; in the end no text has run, and nothing was requested."""
    before = len(window.requests)

    def open_it(file):
        window.open(file)
        window.wait_for("document.querySelector('#train-chart .main-svg')")
        window.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        window.wait_for("document.querySelector('#tokens-0 .token-grid .token')")
        return window.evaluate(SHOWN)

    yield open_it
    assert window.evaluate("window.hacked") is None
    assert window.evaluate("performance.getEntriesByType('resource').length") == 0
    assert window.requests[before:] == []


def test_it_is_drawn_and_its_numbers_are_those_of_the_run(contents, file, open_page):
    shown = open_page(file)
    values, evaluation = shown["values"], contents.evaluation
    figure = values["pieces"]["train-chart"]["data"]
    assert shown["chart"] == [[line["name"], line["y"]] for line in figure]
    assert shown["tokens"] == contents.tokens[0].length
    assert shown["losses"] > 0
    assert shown["step"] == f"Step {contents.run.step} of {contents.run.total_steps}"
    assert shown["bleu"] == [f"{evaluation[side]['bleu']:.2f}" for side in ("base", "tuned")]
    assert values["evaluation"] == json.loads(json.dumps(evaluation))
    assert shown["resources"] == []


def test_hostile_texts_are_texts(contents, open_page, tmp_path):
    hostile = with_hostile_texts(contents)
    to = tmp_path / "hostile.html"
    to.write_bytes(page_html(hostile).encode("utf-8", "replace"))
    assert open_page(to)["tokens"] == len(HOSTILE)


def test_a_script_and_a_request_would_be_noticed(window, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(f"<script>{ATTACK}</script><img src=http://evil.example/x.png><p>")
    window.open(bad)
    assert window.evaluate("window.hacked") == 1
    window.wait_for("performance.getEntriesByType('resource').length")
    assert any(b"evil.example" in request for request in window.requests)
