"""What is done to the server's answers: they are compressed, and the page says what it needs without JavaScript."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SENTENCE = (
    b"<noscript><p style='margin: 2rem; font: 16px sans-serif'>Instruction-Tuning Lab needs JavaScript to show its"
    b" page: switch it on for this address and reload. The command line works without it: "
    b"<code>python -m instruct_tune --help</code>.</p></noscript>"
)


class NoScript:
    """ASGI middleware that adds the sentence to the page's HTML.

    gradio's ``head`` cannot hold it: a script puts that in.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through; HTML with the sentence."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None

        async def add(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_html(message):
                # Held back until the length is known.
                start = message
            elif start is not None and message["type"] == "http.response.body":
                headers, body = start["headers"], message["body"]
                if not message.get("more_body"):
                    body = _with_sentence(body)
                    length = b"%d" % len(body)
                    headers = [(name, length if name == b"content-length" else value) for name, value in headers]
                await send({**start, "headers": headers})
                await send({**message, "body": body})
                start = None
            else:
                await send(message)

        await self.app(scope, receive, add)


def _is_html(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in start["headers"])


def _with_sentence(html: bytes) -> bytes:
    """``html`` with the sentence before gradio's own element; unchanged where it has none."""
    before, element, after = html.rpartition(b"<gradio-app")
    return before + SENTENCE + element + after if element else html


# gradio compresses its scripts and styles only. The page is an eighth as long compressed.
_COMPRESSED = Middleware(
    GZipMiddleware,
    minimum_size=1000,
    compresslevel=5,
    exclude_content_types=(
        *DEFAULT_EXCLUDED_CONTENT_TYPES,
        "application/octet-stream",
        "text/javascript",
        "application/javascript",
        "text/css",
    ),
)
MIDDLEWARE = [_COMPRESSED, Middleware(NoScript)]
"""For the server of the page; the first is the outermost."""
