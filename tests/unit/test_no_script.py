"""The sentence for a browser without JavaScript: in the page's HTML, and nowhere else."""

import asyncio

import pytest

from instruct_tune.ui.no_script import SENTENCE, NoScript

PAGE = b"<html><body><script>const a = '<gradio-app>'</script><gradio-app></gradio-app></body></html>"


def served(content_type, parts, method="GET"):
    """The headers and the body that a browser gets from an application which answers with ``parts``."""

    async def app(scope, receive, send):
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % sum(map(len, parts)))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": at + 1 < len(parts)})

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(NoScript(app)({"type": "http", "method": method}, None, send))
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * len(parts)
    return dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


def test_a_page_begins_with_the_sentence_and_has_its_length():
    headers, body = served(b"text/html; charset=utf-8", [PAGE])
    assert body == PAGE.replace(b"</script><gradio-app>", b"</script>" + SENTENCE + b"<gradio-app>")
    assert headers[b"content-length"] == b"%d" % len(body)


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
