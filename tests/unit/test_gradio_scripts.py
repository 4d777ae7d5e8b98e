"""gradio's scripts have each text that is changed, once; every other request gets gradio's own answer."""

import asyncio
import logging
from pathlib import Path

import pytest
from gradio.route_utils import BUILD_PATH_LIB

from instruct_tune.lab import Lab
from instruct_tune.ui import build_ui
from instruct_tune.ui.gradio_scripts import CHANGES, Change, GradioScripts, changed, scripts

OWN = b"gradio's own answer"


def answer(path, method="GET", kind="http"):
    """The body of what the server answers."""
    sent = []

    async def gradios(scope, receive, send):
        await send({"type": "http.response.body", "body": OWN})

    async def send(message):
        sent.append(message)

    asyncio.run(GradioScripts(gradios)({"type": kind, "method": method, "path": path}, None, send))
    return b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize("pattern", CHANGES)
def test_gradios_script_has_each_text_once(pattern, caplog):
    [path] = Path(BUILD_PATH_LIB).glob(pattern)
    script = path.read_text(encoding="utf-8")
    assert [script.count(change.old) for change in CHANGES[pattern]] == [1] * len(CHANGES[pattern])
    served = answer(f"/assets/{path.name}").decode()
    assert [served.count(change.new) for change in CHANGES[pattern]] == [1] * len(CHANGES[pattern])
    assert answer(f"/behind/a/proxy/assets/{path.name}").decode() == served
    assert caplog.text == ""


def test_a_script_stays_where_one_text_is_another(caplog):
    changes = [Change("a()", "b()"), Change("c()", "d()")]
    assert changed("a();c()", changes) == "b();d()"
    with caplog.at_level(logging.WARNING):
        for other in ("a();c();c()", "a();e()"):
            assert changed(other, changes) == other
    assert [record.getMessage()[-3:] for record in caplog.records] == ["c()", "c()"]


@pytest.mark.parametrize("path", ["/", "/assets/index.js", "/assets/../core.js", "/static/NAME", "/assets/x/NAME"])
def test_all_else_is_gradios(path):
    assert answer(path.replace("NAME", next(iter(scripts())))) == OWN


def test_other_requests_than_get_are_answered_by_gradio():
    name = next(iter(scripts()))
    assert answer(f"/assets/{name}", method="HEAD") == OWN
    assert answer(f"/assets/{name}", kind="websocket") == OWN


def test_no_event_needs_what_is_left_out(tmp_path):
    """No input is checked by gradio's validators or streamed from a camera."""
    page = build_ui(Lab(tmp_path / "data"))
    assert [event for event in page.fns.values() if event.validator or event.connection == "stream"] == []
