"""The Hub token of the visitor for whom this thread works: in their requests, and in the jobs that they submit.

It is in the context alone, never in a configuration, a run or an argument: what is stored, logged or pickled has none.
Only a push takes the token that it writes with as an argument, for a person may type another one.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..config.environment import offers_sign_in
from ..config.viewer import multi_user
from ..errors import DataError, HubError

EXPIRED = "Your Hugging Face sign-in has expired: sign in again."
TOKENS_PAGE = "https://huggingface.co/settings/tokens"
WRITING_SCOPES = {"contribute-repos", "write-repos", "manage-repos"}
"""The OAuth scopes that let an app create repositories and write to them; the first to those that it created alone."""
JOB_SCOPE = "jobs"
_TOKEN = re.compile(r"[A-Za-z0-9_.~+/=-]{8,4000}")


@dataclass(frozen=True)
class HubToken:
    """An OAuth token. ``expires_at``: in seconds of ``time.time``; None where that is not known."""

    secret: str = field(repr=False)
    expires_at: float | None = None

    @property
    def is_expired(self) -> bool:
        """Whether the Hub accepts it no more."""
        return self.expires_at is not None and self.expires_at <= time.time()

    @property
    def digest(self) -> str:
        """What tells it from other tokens, and does not give it away."""
        return hashlib.sha256(self.secret.encode("utf-8", "surrogatepass")).hexdigest()

    def require_valid(self) -> None:
        """Raise HubError if it has expired."""
        if self.is_expired:
            raise HubError(EXPIRED)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A visitor's token is never pickled.")


_current: ContextVar[HubToken | None] = ContextVar("hub_token", default=None)


def current() -> HubToken | None:
    """The token of the visitor for whom this thread works; None where they are not signed in."""
    return _current.get()


@contextmanager
def acting_for(token: HubToken | None) -> Iterator[None]:
    """Inside, requests to the Hub for what is not public have this token."""
    before = _current.set(token)
    try:
        yield
    finally:
        _current.reset(before)


def for_writing(typed: Any = "") -> HubToken:
    """The token for what a person writes to the Hub from the page or an endpoint.

    What they typed, else their sign-in, else on a lab of one user the login of this machine. Where others use the lab
    it is never the host's. Raises HubError where there is none, DataError where what was typed cannot be a token.
    """
    return _own(typed, "Pushing", "write access", _sign_in_has())


def for_jobs(typed: Any = "") -> HubToken:
    """``for_writing`` for what starts and follows jobs, which a sign-in may do with the scope ``jobs`` besides."""
    return _own(typed, "A job", "the permissions of jobs and repositories", _sign_in_has(JOB_SCOPE))


def _own(typed: Any, purpose: str, needed: str, sign_in_does: bool) -> HubToken:
    if typed:
        return _typed(typed)
    own = current()
    if own is not None and sign_in_does:
        own.require_valid()
        return own
    if not multi_user():
        return of_this_machine()
    sign_in = "sign in at the foot of the page, or " if own is None and offers_sign_in() and sign_in_does else ""
    raise HubError(f"{purpose} needs your own Hugging Face account: {sign_in}paste a token with {needed}.")


def of_this_machine() -> HubToken:
    """The login of who runs this process: ``HF_TOKEN``, or the one of ``hf auth login``. Raises HubError if none."""
    from huggingface_hub import get_token

    secret = get_token()
    if not secret:
        raise HubError("There is no Hugging Face login on this machine: run `hf auth login`, or set HF_TOKEN.")
    return HubToken(secret)


def _typed(value: Any) -> HubToken:
    secret = value.strip() if isinstance(value, str) else ""
    # In a header anything else is an error whose message would quote it.
    if not _TOKEN.fullmatch(secret):
        raise DataError(f"That is not a Hugging Face token: copy one with write access from {TOKENS_PAGE}.")
    return HubToken(secret)


def _sign_in_has(*scopes: str) -> bool:
    """Whether signing in lets the lab write to repositories, and has ``scopes`` besides."""
    granted = set(os.environ.get("OAUTH_SCOPES", "").split())
    return bool(WRITING_SCOPES & granted) and granted >= set(scopes)
