"""The Hub token of the visitor for whom this thread works: in their requests, and in the jobs that they submit.

It is in the context alone, never in a configuration, a run or an argument: what is stored, logged or pickled has none.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NoReturn

from ..errors import HubError

EXPIRED = "Your Hugging Face sign-in has expired: sign in again."


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
    """Inside, the Hub is asked with this token for what is not public."""
    before = _current.set(token)
    try:
        yield
    finally:
        _current.reset(before)
