"""A run as one page, opened from a file with the network off: it draws, is used by keyboard, and runs no text."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
from at_night import at_night_after
from browser import PATIENCE
from hostile import NAMES
from test_accessibility import findings

from instruct_tune.config.viewer import HOST
from instruct_tune.evaluation.token_losses import AnswerLosses, AnswerToken, Candidate, TokenScore
from instruct_tune.inspection.token_view import Role, Token, TokenView
from instruct_tune.lab import Lab
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.ui.compare import first_views
from instruct_tune.ui.run_page.page import page_html

pytestmark = pytest.mark.slow

ATTACK = "window.hacked = (window.hacked || 0) + 1"
PAYLOADS = (
    "<script>{}</script>", "</script><script>{}</script>", "</SCRIPT ><svg onload='{}'>", "<!--<script>{}</script>",
    "--><script>{}</script>", "<img src=x onerror='{}'>", '"><img src=x onerror="{}">', "'><svg/onload={}>",
    "</pre><script>{}</script>", "</title><script>{}</script>", "</style><script>{}</script>", "</textarea><script>{}",
    "${{{}}}", "`${{{}}}`", "{{{{{}}}}}", "javascript:{}", "[x](javascript:{})", "<a href='javascript:{}'>x</a>",
    "<iframe srcdoc='<script>parent.{}</script>'></iframe>", "<meta http-equiv=refresh content='0;url=http://evil/'>",
    "<base href=http://evil/>", "<link rel=stylesheet href=http://evil/x.css>", "<style>@import 'http://evil/'</style>",
    "<form action=http://evil/><button autofocus>x</button></form>", "<math><mtext></p><img src=x onerror='{}'>",
    "\u2028{}\u2029", "';{};//", '";{};//', "\\u003cscript\\u003e{}\\u003c/script\\u003e",
    "&lt;script&gt;{}&lt;/script&gt;",
    "\u202egnp.{}\u202c", "\u2066{}\u2069", "\0<script>{}</script>", "**<b onclick='{}'>**", "<br><script>{}</script>",
)  # fmt: skip
AROUND = ("{}", "a {} b", "{}\n{}", "```\n{}\n```", "- {}", "\t{}", "<![CDATA[{}]]>", "<p>{}", "{}\r\n", "🙂{}",
          "\u0301{}", "({})", "'{}'", '"{}"', "# {}")  # fmt: skip
HOSTILE = [*NAMES, *(around.replace("{}", payload.format(ATTACK)) for around in AROUND for payload in PAYLOADS)]
assert len(HOSTILE) >= 500


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """What the page of the best recorded run shows."""
    lab = Lab(tmp_path_factory.mktemp("run-page") / "data")
    put_recorded(lab.store)
    try:
        yield lab.run_pages.contents(HOST, BEST, losses=False)
    finally:
        lab.close()


@pytest.fixture(scope="module")
def file(contents, tmp_path_factory):
    to = tmp_path_factory.mktemp("page") / "run.html"
    to.write_text(page_html(contents, first_views.of_run(BEST).why), encoding="utf-8")
    return to


@pytest.fixture
def open_file(browser):
    """Opens a file offline; in the end nothing has been requested, and the browser has reported nothing."""
    reports, contexts = [], []

    def open_it(file, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: reports.append(str(error)))
        page.on("console", lambda message: reports.append(message.text))
        page.on("dialog", lambda dialog: reports.append(dialog.message) or dialog.dismiss())
        page.on("request", lambda request: reports.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        page.wait_for_selector("#train-chart .main-svg")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert reports == []


def with_hostile_texts(contents):
    """The same run, with every text of a row, an answer, a name or a setting taken from ``HOSTILE``."""
    text = itertools.cycle(HOSTILE).__next__
    _, row = contents.answers[0]
    answers = tuple(
        (at, {**row, "instruction": text(), "input": text(), "reference": text(), "base": text(), "tuned": text()})
        for at in range(1, 101)
    )
    score = TokenScore(1.0, tuple(Candidate(at, text(), 0.1) for at in range(5)))
    tokens = TokenView(tuple(Token(at, each, each, Role.ANSWER, True) for at, each in enumerate(HOSTILE)), text())
    losses = tuple(
        AnswerToken(at, each, False, score, dataclasses.replace(score, loss=0.5)) for at, each in enumerate(HOSTILE)
    )
    scrub = contents.scrub
    prompts = [{**each, "instruction": text(), "input": text(), "expected": text()} for each in scrub["prompts"]]
    steps = [{**step, "answers": [{**each, "text": text()} for each in step["answers"]]} for step in scrub["steps"]]
    provenance = {
        **contents.run.provenance,
        "data_licence": text(), "data_fingerprint": text(), "versions": {text(): text()},
        "recorded": {"machine": text(), "date": text()},
        "ledger": [
            {"step": text(), "kept": 1, "dropped": 2},
            {"step": "contains", "parameters": {"text": text()}, "kept": 1, "dropped": 0},
        ],
    }  # fmt: skip
    config = {**contents.run.config, "model": text(), "data": {**contents.run.config["data"], "source": text()}}
    run = dataclasses.replace(
        contents.run,
        name=text(),
        tags=(text(), text()),
        provenance=provenance,
        config=config,
        status="failed",
        message=text(),
    )
    finding = {"steps": [1, 2], "label": text(), "sentence": text(), "advice": text()}
    return dataclasses.replace(
        contents,
        run=run,
        status={**contents.status, "message": text(), "findings": [finding]},
        answers=answers,
        tokens=(tokens,),
        losses=AnswerLosses(losses, 0),
        scrub={**scrub, "prompts": prompts, "steps": steps},
        evaluation={**contents.evaluation, "other_weights": text(), "warnings": [text(), text()]},
        script="\n".join(HOSTILE),
        missing={"step": text()},
        step=None,
    )


def as_parsed(text):
    """The text as the page keeps it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def test_hostile_texts_are_texts(contents, open_file, tmp_path):
    hostile = with_hostile_texts(contents)
    file = tmp_path / "hostile.html"
    file.write_bytes(page_html(hostile).encode("utf-8", "replace"))
    page = open_file(file)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    page.wait_for_selector("#tokens-0 .token-grid .token")
    for at in range(len(hostile.scrub["prompts"])):
        page.click(f".scrub-prompts button:nth-child({at + 1})")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.scripts.length") == 4, "the page's three, and Plotly"
    assert page.evaluate("document.querySelectorAll('iframe, form, base, link, img, object, embed, style').length") <= 3
    assert page.evaluate("document.querySelector('h1').textContent") == as_parsed(hostile.run.name)
    shown = page.evaluate("[...document.querySelectorAll('.answer.expected pre')].map(each => each.textContent)")
    assert sorted(shown) == sorted(as_parsed(row["reference"]).removeprefix("\n") for _, row in hostile.answers)
    shown = page.evaluate("[...document.querySelectorAll('#tokens-0 .token-grid .token')].length")
    assert shown == len(HOSTILE)
    assert page.evaluate("document.getElementById('script-text').textContent") == as_parsed(hostile.script)


@pytest.mark.parametrize(("width", "scheme"), at_night_after(1, [(390, "dark"), (1280, "light")]))
def test_it_is_drawn_fits_and_has_no_serious_finding(file, open_file, width, scheme):
    page = open_file(file, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.documentElement.classList.contains('dark')") is (scheme == "dark")
    for drawn in (".scrub-answer", "#compare-why-map .heat-token", ".scores .bar.tuned", "#numbers table"):
        assert page.locator(drawn).first.is_visible()
    # A policy without eval forbids the script of axe, which a browser's own evaluation runs.
    assert findings(page) == []


@pytest.mark.nightly
def test_it_is_used_by_keyboard(file, open_file):
    page = open_file(file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    slider = page.get_by_role("slider", name="Step of the training")
    slider.focus()
    last = page.inner_text(".scrub-step")
    before = page.inner_text(".scrub-answer")
    page.keyboard.press("Home")
    assert page.inner_text(".scrub-step").startswith("Step 0 of")
    assert last.startswith("Step 12 of")
    assert page.inner_text(".scrub-answer") != before
    assert "step 0 of 12" in slider.get_attribute("aria-valuetext")
    token = page.locator("#compare-why-map .heat-token").first
    token.focus()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#compare-why-map .heat-line").startswith("Token 2 of")
    fold = page.locator("#answers details summary").nth(1)
    fold.focus()
    page.keyboard.press("Enter")
    assert page.locator("#answers details").nth(1).get_attribute("open") is not None
    page.locator("#differences").focus()
    assert page.locator("#answers del").first.is_visible()
    page.keyboard.press("Space")
    assert page.locator("#answers .answer del:visible").count() == 0
    page.get_by_role("button", name="Dark").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("button", name="Light").is_visible()


@pytest.mark.nightly
def test_the_script_is_saved_and_the_page_is_printed(file, open_file, contents):
    page = open_file(file, scheme="dark")
    with page.expect_download() as download:
        page.click("#save-script")
    assert download.value.suggested_filename == "run.py"
    assert download.value.path().read_text(encoding="utf-8") == contents.script
    assert len(page.pdf()) > 50_000
    assert json.loads(page.evaluate("document.getElementById('values').textContent"))["run"]["id"] == BEST


def test_without_javascript_its_texts_and_tables_are_there(file, browser):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    assert "Without JavaScript this page shows its texts and tables" in page.text_content("noscript")
    assert page.locator("#numbers table").is_visible()
    assert page.locator(".answer.tuned pre").first.is_visible()
    context.close()
