"""What handlers share: the viewer behind a request, and LabErrors shown as toasts."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from ..config.viewer import ANONYMOUS, Viewer, known_by, multi_user
from ..errors import DataError, LabError
from ..runs.machine_paths import short_paths
from ..services.access import Access
from ..text.markdown import plain
from .account import account_of
from .setting_labels import in_form_words

log = logging.getLogger(__name__)


PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Event options of the page's own events: scripts use the endpoints of ``api.py``."""
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
"""``PRIVATE`` without a progress display: for events that take no noticeable time or show their own progress."""
ONE_BY_ONE: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_limit": 1}
"""Event options for clicks on table rows: each click is handled, in order, even while an earlier one runs."""
HEADER = "x-lab-visitor"
"""The header with a script's secret: one of its own making, or the one that the page shows for scripts."""


def viewer(access: Access) -> Viewer:
    """The viewer who sent the current request. Call it at the start of a handler, not on a thread that it starts.

    A script sends its secret in ``HEADER``; a page sends it at load (``access.arrive``). Who has signed in is known by
    their account, too.
    """
    request = LocalContext.request.get(None)
    if request is None:
        return ANONYMOUS
    secret = request.headers.get(HEADER)
    person = access.known(known_by(secret)) if secret else access.of(request.session_hash)
    account = account_of(request)
    return person.signed_in(account) if account else person


def identify_viewer(access: Access, token: Any) -> bool:
    """Record ``token`` as the secret of the current page's viewer; False if it is not a valid secret."""
    try:
        access.arrive(session(), token)
    except DataError:
        return False
    return True


def session() -> str | None:
    """The session hash of the page that sent the current request; None outside a request."""
    request = LocalContext.request.get(None)
    return request.session_hash if request else None


def page_query() -> dict[str, str]:
    """The query in the address of the page that sent the current request, which gradio appends to each."""
    request = LocalContext.request.get(None)
    return dict(request.query_params) if request else {}


def polled(feed: Callable[..., list[Any]], inputs: list[Any], outputs: int) -> list[Any]:
    """Call one panel's ``feed``; skip its outputs if it raises. A poll has no toast to show an error in."""
    try:
        return feed(*inputs)
    except LabError:
        # A run was deleted or unshared during the poll; the next poll sees that.
        return [gr.skip()] * outputs
    except Exception:
        # One panel's bug must not stop the updates of the others.
        log.exception("a poll failed")
        return [gr.skip()] * outputs


def toast(error: LabError, *, in_words_of_form: bool) -> gr.Error:
    """The error as gradio shows it; gradio hides and logs all other exceptions.

    ``in_words_of_form``: settings by their labels, for a person at the page; a script knows them by their names.
    """
    message = in_form_words(str(error)) if in_words_of_form else str(error)
    return gr.Error(_escaped(_shorten_paths(message)), duration=20, print_exception=False)


def error_sentence(error: LabError) -> str:
    """The error as Markdown that shows it literally, for an error that is no answer to a click."""
    return plain(error_text(error), 400)


def error_text(error: LabError) -> str:
    """The error in the page's words, for a place that shows text."""
    return _shorten_paths(in_form_words(str(error)))


def inform(text: str) -> None:
    """Show ``text`` in a toast, escaped: it may be somebody else's."""
    gr.Info(_escaped(text))


def _shorten_paths(message: str) -> str:
    """Shorten paths on a Space or when an admin token is set; elsewhere the full path helps to find the file."""
    return short_paths(message) if multi_user() else message


def _escaped(text: str) -> str:
    # gradio renders a toast as HTML, and a message can quote somebody else's text.
    return html.escape(text, quote=False)
