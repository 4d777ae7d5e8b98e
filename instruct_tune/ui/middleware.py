"""What is done to the server's answers: they are compressed, the page says what it needs without JavaScript, and only
an exhibit may stand in another site's frame."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .exhibit import EXHIBITS, frame_policy, head
from .gradio_scripts import GradioScripts

SENTENCE = (
    b"<noscript><p style='margin: 2rem; font: 16px sans-serif'>Instruction-Tuning Lab needs JavaScript to show its"
    b" page: switch it on for this address and reload. The command line works without it: "
    b"<code>python -m instruct_tune --help</code>.</p></noscript>"
)


class PageHtml:
    """ASGI middleware that adds to the page: the sentence, a script, and at an exhibit's address its style.

    gradio's ``head`` cannot hold them: a script puts that in, once the page is read.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through; HTML with the additions, and whether a frame may show it."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        exhibit = QueryParams(scope.get("query_string", b"")).get("exhibit")
        addition = SENTENCE
        if exhibit in EXHIBITS:
            addition += head(exhibit)

        async def add(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_html(message):
                # Held back until the length is known.
                start = message
            elif start is not None and message["type"] == "http.response.body":
                headers, body = start["headers"], message["body"]
                if not message.get("more_body"):
                    body = _before_the_app(body, addition)
                    length = b"%d" % len(body)
                    headers = [(name, length if name == b"content-length" else value) for name, value in headers]
                if exhibit not in EXHIBITS:
                    headers = [*headers, (b"content-security-policy", frame_policy())]
                await send({**start, "headers": headers})
                await send({**message, "body": body})
                start = None
            else:
                await send(message)

        await self.app(scope, receive, add)


def _is_html(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in start["headers"])


def _before_the_app(html: bytes, addition: bytes) -> bytes:
    """``html`` with ``addition`` before gradio's own element; unchanged where it has none."""
    before, element, after = html.rpartition(b"<gradio-app")
    return before + addition + element + after if element else html


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
MIDDLEWARE = [_COMPRESSED, Middleware(PageHtml), Middleware(GradioScripts)]
"""For the server of the page; the first is the outermost."""
