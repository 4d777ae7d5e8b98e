"""Who is looking: the host, who sees everything, or a visitor, known by a secret of their browser or script.

A run or an upload has an owner, the hash of such a secret: the history holds nothing that would let
its reader pass for somebody else.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass

from ..errors import DataError

SESSIONS_REMEMBERED = 10_000


def multi_user() -> bool:
    """Whether others than the host use this lab: on a Space, or where ``LAB_ADMIN_TOKEN`` tells the host from them."""
    return "SPACE_ID" in os.environ or "LAB_ADMIN_TOKEN" in os.environ


@dataclass(frozen=True)
class Viewer:
    """Somebody who looks. ``id`` is the hash of their secret; None where they showed none."""

    id: str | None = None
    host: bool = False

    def sees(self, owner: str | None) -> bool:
        """Whether what ``owner`` alone may see is for this viewer too; an owner of None is everyone."""
        return self.host or owner is None or owner == self.id


HOST = Viewer(host=True)
"""Whoever runs the lab: the command line, and the page with the host's token."""

ANONYMOUS = Viewer()
"""A visitor who showed no secret: sees what is everyone's."""


def known_by(secret: str) -> Viewer:
    """The visitor with that secret. Raises DataError for one that could be guessed or is no text."""
    if not isinstance(secret, str) or not 16 <= len(secret) <= 200:
        raise DataError("A visitor's secret has 16 to 200 characters: make up a random one and keep it.")
    return Viewer(hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest())


class Visitors:
    """Which visitor is behind which open page.

    A page has a session of its own at every load; it says whose it is at load and with every poll,
    so this is known again a second after a restart. ``admin_token`` is the host's, if there is one.
    """

    def __init__(self, admin_token: str | None = None):
        self.admin_token = admin_token
        self._sessions: OrderedDict[str, Viewer] = OrderedDict()
        self._hosts: set[str] = set()
        self._lock = threading.Lock()

    def arrive(self, session: str | None, secret: str) -> Viewer:
        """Note whose page ``session`` is."""
        viewer = known_by(secret)
        if session:
            with self._lock:
                self._sessions[session] = viewer
                self._sessions.move_to_end(session)
                while len(self._sessions) > SESSIONS_REMEMBERED:
                    self._hosts.discard(self._sessions.popitem(last=False)[0])
        return self.of(session)

    def of(self, session: str | None) -> Viewer:
        """Who is behind a page; ANONYMOUS where it never said so."""
        with self._lock:
            viewer = self._sessions.get(session or "", ANONYMOUS)
            return Viewer(viewer.id, host=True) if session in self._hosts else viewer

    def admit(self, session: str | None, token: str) -> bool:
        """Let the page act for the host if ``token`` is the host's; says whether it is."""
        if not session or not self.admin_token or not isinstance(token, str):
            return False
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.admin_token.encode()):
            return False
        with self._lock:
            self._sessions.setdefault(session, ANONYMOUS)
            self._hosts.add(session)
        return True
