"""The page's HTML has the sentence for a browser without JavaScript, and an exhibit's style; long ones are zipped."""

import asyncio
import gzip

import pytest
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from instruct_tune.ui.exhibit import EXHIBITS, head
from instruct_tune.ui.middleware import MIDDLEWARE, SENTENCE, PageHtml

PAGE = b"<html><body><script>const a = '<gradio-app>'</script><gradio-app></gradio-app></body></html>"


def served(content_type, parts, method="GET", query=b""):
    """The headers and the body that a browser gets from an application which answers with ``parts``."""

    async def app(scope, receive, send):
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % sum(map(len, parts)))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": at + 1 < len(parts)})

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(PageHtml(app)({"type": "http", "method": method, "query_string": query}, None, send))
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * len(parts)
    return dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


def test_a_page_begins_with_the_sentence_and_has_its_length():
    headers, body = served(b"text/html; charset=utf-8", [PAGE])
    assert body == PAGE.replace(b"</script><gradio-app>", b"</script>" + SENTENCE + b"<gradio-app>")
    assert headers[b"content-length"] == b"%d" % len(body)


@pytest.mark.parametrize("name", EXHIBITS)
def test_an_exhibit_alone_may_stand_in_any_frame_and_has_its_style(name):
    headers, body = served(b"text/html", [PAGE], query=b"x=1&exhibit=" + name.encode())
    assert body == PAGE.replace(b"</script><gradio-app>", b"</script>" + SENTENCE + head(name) + b"<gradio-app>")
    assert b"content-security-policy" not in headers


@pytest.mark.parametrize(
    "query",
    [b"", b"exhibit=", b"exhibit=Curve", b"exhibit=curve&exhibit=lab", b"exhibit=curve%00", b"\xff", b"a=exhibit"],
)
def test_the_whole_lab_is_in_no_frame_of_another_site(query, monkeypatch):
    headers, body = served(b"text/html", [PAGE], query=query)
    assert headers[b"content-security-policy"] == b"frame-ancestors 'self'"
    assert b"data-exhibit" not in body
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    headers, _ = served(b"text/html", [PAGE], query=query)
    assert headers[b"content-security-policy"] == b"frame-ancestors 'self' https://huggingface.co"


@pytest.mark.parametrize(
    ("content_type", "parts", "method"),
    [
        (b"application/json", [PAGE], "GET"),
        (b"text/html", [PAGE[:30], PAGE[30:]], "GET"),
        (b"text/html", [b"<html>no page of gradio's</html>"], "GET"),
        (b"text/html", [b""], "GET"),
        (b"text/html", [PAGE], "POST"),
    ],
)
def test_everything_else_is_left_as_it_is(content_type, parts, method):
    headers, body = served(content_type, parts, method)
    assert body == b"".join(parts)
    assert headers[b"content-length"] == b"%d" % len(body)


PARTS = [b"data: " + b"a" * 5000, b"data: b"]
ANSWERS = {
    "/": lambda: Response(PAGE + b" " * 5000, media_type="text/html"),
    "/brief": lambda: Response(b"[]" * 450, media_type="application/json"),
    "/poll": lambda: Response(b'{"__type__": "update"}' * 85, media_type="application/json"),
    "/event": lambda: Response(b"[]" * 5000, media_type="application/json"),
    "/stream": lambda: StreamingResponse(iter(PARTS), media_type="text/event-stream"),
    "/script.js": lambda: Response(b"0" * 5000, media_type="text/javascript"),
    "/weights": lambda: Response(b"0" * 5000, media_type="application/octet-stream"),
    "/export": lambda: Response(b"0" * 5000, media_type="application/zip"),
}


def answer(path, accepted="gzip, br"):
    """What a browser gets from a server with the middleware: its encoding, and its body as a browser reads it."""

    async def route(request):
        return ANSWERS[path]()

    app = Starlette(routes=[Route(path, route)], middleware=MIDDLEWARE)
    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": b"", "root_path": "",
        "headers": [(b"accept-encoding", accepted.encode())],
    }  # fmt: skip
    sent = []

    async def receive():
        await asyncio.sleep(3600)

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    encoding = dict(sent[0]["headers"]).get(b"content-encoding")
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return encoding, gzip.decompress(body) if encoding == b"gzip" else body


@pytest.mark.parametrize("path", ["/", "/poll", "/event"])
def test_the_page_polls_and_long_answers_are_compressed(path):
    encoding, body = answer(path)
    assert encoding == b"gzip"
    assert answer(path, "identity") == (None, body)
    assert (SENTENCE in body) == (path == "/")


@pytest.mark.parametrize("path", ["/brief", "/stream", "/script.js", "/weights", "/export"])
def test_brief_answers_streams_scripts_and_downloads_are_not(path):
    encoding, body = answer(path)
    assert encoding is None
    assert len(body) >= 900
