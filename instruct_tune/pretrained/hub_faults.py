"""Requests to the Hub in a person's name: short pauses are waited for, each fault is a sentence without the token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import HubError, LabError, Stopped
from ..text.plain_text import first_line
from ..util.progress import Loading
from .hub_token import EXPIRED, TOKENS_PAGE, HubToken

MAX_PAUSE = 20.0
"""The longest pause that the Hub may ask for (``Retry-After``), in seconds; for a longer one the person comes back."""
USUAL_PAUSE = 5.0
"""The pause where the Hub gives no time."""
TRIES = 3
"""How often a request is sent that the Hub asks to send later."""
_remedy: ContextVar[str | None] = ContextVar("remedy", default=None)
"""What to do after a fault that passes, while a request is made inside ``explained``."""
T = TypeVar("T")


class HubFault(HubError):
    """A request that failed. ``status``: the Hub's, or None where the connection was lost or the cause is another."""

    def __init__(self, message: str, status: int | None = None, passes: bool = False):
        super().__init__(message)
        self.status, self.passes = status, passes


@dataclass(frozen=True)
class Wording:
    """The words of an error. ``again``: what to do after a fault that passes; ``refused``: what the Hub did not do.

    ``by_status``: whole sentences for the Hub's other answers.
    """

    again: str
    refused: str
    by_status: Mapping[int, str] = field(default_factory=dict)


@contextmanager
def explained(own: HubToken, wording: Wording) -> Iterator[None]:
    """Turn errors of the Hub and of the network into a HubFault of one sentence; the token is in none of them."""
    from huggingface_hub.utils import httpx

    marked = _remedy.set(wording.again)
    try:
        yield
    except (RuntimeError, ValueError, OSError, httpx.HTTPError) as error:
        # The Hub's client reports an upload that failed as a RuntimeError.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        if isinstance(cause, (LabError, Stopped)):
            raise cause from None
        if type(cause) is RuntimeError:
            raise
        raise _fault(cause, own, wording) from error
    finally:
        _remedy.reset(marked)


def patiently(request: Callable[[], T], loading: Loading) -> T:
    """The answer to ``request``, which is sent again after a short pause where the Hub asks for one."""
    from huggingface_hub.errors import HfHubHTTPError

    for tries in range(1, TRIES + 1):
        loading.check()
        try:
            return request()
        except HfHubHTTPError as error:
            pause = _pause(error.response)
            if pause is None or pause > MAX_PAUSE or tries == TRIES:
                raise
        until = time.monotonic() + pause
        while time.monotonic() < until:
            loading.check()
            time.sleep(0.1)
    raise AssertionError("the last try returns or raises")


def refuse_long_pauses() -> None:
    """Let the Hub's client, which waits for as long as the Hub asks, give up where that is long.

    It makes its connection anew after some errors, so this is called before each file.
    """
    from huggingface_hub.utils import get_session

    session = get_session()
    hooks = session.event_hooks
    if _raise_for_long_pause not in hooks["response"]:
        session.event_hooks = {**hooks, "response": [*hooks["response"], _raise_for_long_pause]}


def no_access(own: HubToken, missing: str, typed: str, signed_in: str) -> str:
    """The sentence for a token that may not do something; the remedy is another one for a sign-in."""
    return f"This token may not {missing}: {signed_in if own.expires_at else typed}."


def _raise_for_long_pause(response: Any) -> None:
    if again := _remedy.get():
        pause = _pause(response)
        if pause is not None and pause > MAX_PAUSE:
            raise HubFault(_too_many(pause, again), 429, passes=True)


def _pause(response: Any) -> float | None:
    """The seconds after which a request that came too early (429) may be sent again; None for other answers."""
    from huggingface_hub.utils import parse_ratelimit_headers

    if response is None or response.status_code != 429:
        return None
    limit, after = parse_ratelimit_headers(response.headers), response.headers.get("Retry-After", "").strip()
    if after.isdigit():
        return float(after)
    return float(limit.reset_in_seconds) if limit else USUAL_PAUSE


def _fault(error: BaseException, own: HubToken, wording: Wording) -> HubFault:
    from huggingface_hub.utils import httpx

    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    if status == 401:
        text = f"The Hub does not know this token: make one with write access at {TOKENS_PAGE}, or " + (
            EXPIRED[0].lower() + EXPIRED[1:] if own.expires_at else "log in again with `hf auth login`."
        )
        return HubFault(text, status)
    if status is not None and status in wording.by_status:
        return HubFault(wording.by_status[status], status)
    if status == 429:
        return HubFault(_too_many(_pause(response) or USUAL_PAUSE, wording.again), status, passes=True)
    if status is not None and status >= 500:
        text = f"The Hub has a fault of its own at the moment ({status}): {wording.again}."
        return HubFault(text, status, passes=True)
    if isinstance(error, (httpx.TransportError, ConnectionError)):
        return HubFault(f"The connection to the Hub was lost: {wording.again}.", passes=True)
    reason = first_line(error).replace(own.secret, "…")
    return HubFault(f"{wording.refused}: {reason}. Mend that, and try again.", status)


def _too_many(seconds: float, again: str) -> str:
    return f"The Hub asks for a pause of {seconds:,.0f} seconds, since it got too many requests: {again}."
