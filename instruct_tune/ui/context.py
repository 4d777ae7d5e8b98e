"""The page's edge: who is asking, and what a person caused becomes one sentence in a toast."""

from __future__ import annotations

import functools
import html
import inspect
import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr
from gradio.context import LocalContext

from ..config.viewer import ANONYMOUS, Viewer, known_by
from ..errors import DataError, LabError
from ..export.machine_paths import short_paths
from ..lab import Lab

log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])


ONE_BY_ONE: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_limit": 1}
"""For clicks on rows of a table: each is heard, in their order, also while the one before is being answered."""
HEADER = "x-lab-visitor"
"""Where a script says who it is: a secret of its own making, or the one that a browser shows for this."""


def viewer(lab: Lab) -> Viewer:
    """Who sent the request that is being handled. Ask at the handler's beginning, not in threads of its own.

    A script says it in a header, a page when it is opened (``lab.visitors``).
    """
    request = LocalContext.request.get(None)
    if request is None:
        return ANONYMOUS
    secret = request.headers.get(HEADER)
    return known_by(secret) if secret else lab.access.of(request.session_hash)


def identify_viewer(lab: Lab, token: Any) -> bool:
    """Note who is behind the page that asks; False where what its browser remembers is no secret."""
    try:
        lab.access.arrive(session(), token)
    except DataError:
        return False
    return True


def session() -> str | None:
    """The session of the page that sent the request."""
    request = LocalContext.request.get(None)
    return request.session_hash if request else None


def polled(feed: Callable[..., list[Any]], given: list[Any], outputs: int) -> list[Any]:
    """What a feed has to tell; nothing new where it cannot. A poll has no toast to show an error in."""
    try:
        return feed(*given)
    except LabError:
        # Deleted, or no longer shared, while it was being looked at: the next poll knows.
        return [gr.skip()] * outputs
    except Exception:
        # The page's edge: one feed's fault must not silence the others.
        log.exception("a poll failed")
        return [gr.skip()] * outputs


def user_errors(handler: F) -> F:
    """A handler whose LabErrors are shown as they are; anything else stays gradio's to hide and log."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except LabError as error:
                raise _toast(error) from error

        return stream  # type: ignore[return-value]

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except LabError as error:
            raise _toast(error) from error

    return call  # type: ignore[return-value]


def inform(text: str) -> None:
    """Show ``text`` in a toast, letter by letter, whoever wrote it."""
    gr.Info(_letters(text))


def _toast(error: LabError) -> gr.Error:
    return gr.Error(_letters(_for_everybody(str(error))), duration=20, print_exception=False)


def _for_everybody(message: str) -> str:
    """Where visitors come, a message names no folder of the machine; on a machine of one's own it helps to find it."""
    visited = "SPACE_ID" in os.environ or "LAB_ADMIN_TOKEN" in os.environ
    return short_paths(message) if visited else message


def _letters(text: str) -> str:
    # A toast is markup to gradio, and a message can quote what somebody else wrote.
    return html.escape(text, quote=False)
