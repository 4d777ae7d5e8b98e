"""Viewers: the host, who sees everything, and visitors, identified by a secret of their browser or script.

The owner of a run or upload is stored as the hash of that secret, so nobody who reads the history can impersonate a
visitor.
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
    """Whether people other than the host use the lab: on a Space, or if ``LAB_ADMIN_TOKEN`` identifies the host."""
    return "SPACE_ID" in os.environ or "LAB_ADMIN_TOKEN" in os.environ


@dataclass(frozen=True)
class Viewer:
    """A person using the lab. ``id`` is the hash of their secret; None if they sent none."""

    id: str | None = None
    host: bool = False

    def sees(self, owner: str | None) -> bool:
        """Whether this viewer may see what belongs to ``owner`` (None: everyone)."""
        return self.host or owner is None or owner == self.id


HOST = Viewer(host=True)
"""The person who runs the lab: on the command line, or on the page with the host's token."""

ANONYMOUS = Viewer()
"""A visitor without a secret: sees only what everyone may see."""


def known_by(secret: str) -> Viewer:
    """The visitor with that secret. Raises DataError if it is not a text of 16 to 200 characters."""
    if not isinstance(secret, str) or not 16 <= len(secret) <= 200:
        raise DataError("A visitor's secret has 16 to 200 characters: make up a random one and keep it.")
    return Viewer(hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest())


class Visitors:
    """Maps page sessions to visitors.

    Each page load has its own session. The page sends its secret at load and with every poll, so the mapping is
    rebuilt within a second of a restart. ``admin_token`` is the host's token, if there is one.
    """

    def __init__(self, admin_token: str | None = None):
        self.admin_token = admin_token
        self._sessions: OrderedDict[str, Viewer] = OrderedDict()
        self._hosts: set[str] = set()
        self._lock = threading.Lock()

    def arrive(self, session: str | None, secret: str) -> Viewer:
        """Assign ``session`` to the visitor with ``secret``; returns the viewer. Raises DataError."""
        viewer = known_by(secret)
        if session:
            with self._lock:
                self._sessions[session] = viewer
                self._sessions.move_to_end(session)
                while len(self._sessions) > SESSIONS_REMEMBERED:
                    self._hosts.discard(self._sessions.popitem(last=False)[0])
        return self.of(session)

    def of(self, session: str | None) -> Viewer:
        """The viewer of a session; ANONYMOUS if it is not assigned."""
        with self._lock:
            viewer = self._sessions.get(session or "", ANONYMOUS)
            return Viewer(viewer.id, host=True) if session in self._hosts else viewer

    def admit(self, session: str | None, token: str) -> bool:
        """Let the session act as the host if ``token`` is the host's; returns whether it is."""
        if not session or not self.admin_token or not isinstance(token, str):
            return False
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.admin_token.encode()):
            return False
        with self._lock:
            self._sessions.setdefault(session, ANONYMOUS)
            self._hosts.add(session)
        return True
