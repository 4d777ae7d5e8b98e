"""Viewers: the host, who sees everything, and visitors, identified by a secret of their browser or script.

A visitor who signed in with Hugging Face is identified by their account, and by their browser too. The owner of a run
or upload is stored as the hash of the secret or of the account, so nobody who reads the history can impersonate a
visitor.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from ..errors import DataError

_labs_with_rooms: set[str] = set()
"""The data folders of this process's labs in which a room is open."""


def multi_user() -> bool:
    """Whether people other than the host use the lab: on a Space, if ``LAB_ADMIN_TOKEN`` identifies the host, and
    while a room is open."""
    return "SPACE_ID" in os.environ or "LAB_ADMIN_TOKEN" in os.environ or bool(_labs_with_rooms)


def note_rooms(data_dir: str, are_open: bool) -> None:
    """Record whether a room is open in the lab of that data folder."""
    (_labs_with_rooms.add if are_open else _labs_with_rooms.discard)(data_dir)


@dataclass(frozen=True)
class Viewer:
    """A person using the lab. ``id`` is the hash of their account or secret; None if they sent none.

    ``browser``: the id that their browser's secret gives somebody who has signed in; what it began stays theirs.
    """

    id: str | None = None
    host: bool = False
    browser: str | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that is theirs, the one for new runs and uploads first."""
        return tuple(each for each in (self.id, self.browser) if each is not None)

    def sees(self, owner: str | None) -> bool:
        """Whether this viewer may see what belongs to ``owner`` (None: everyone)."""
        return self.host or owner is None or owner in self.ids

    def signed_in(self, account: str) -> Viewer:
        """This visitor as the Hugging Face account with that stable id (``sub``), besides their browser."""
        # No secret has such an id, whatever a browser sends as one.
        return Viewer(f"hf-{_hashed(account)}", self.host, self.id)


HOST = Viewer(host=True)
"""The person who runs the lab: on the command line, or on the page with the host's token."""

ANONYMOUS = Viewer()
"""A visitor without a secret: sees only what everyone may see."""


def known_by(secret: str) -> Viewer:
    """The visitor with that secret. Raises DataError if it is not a text of 16 to 200 characters."""
    if not isinstance(secret, str) or not 16 <= len(secret) <= 200:
        raise DataError("A visitor's secret has 16 to 200 characters: make up a random one and keep it.")
    return Viewer(_hashed(secret))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
