"""Access rules for the Hub: when the host's token is used, and which cached copies are served.

If several people use the lab, the host's Hugging Face token and cache must not give a visitor what only the host may
read. So the token is used only for the repositories in ``LAB_HOST_REPOS``, and a copy, on disk or in memory, is served
only if the repository is public on the Hub, or if the Hub gives it to the visitor by their own token.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Literal

from ..config.catalog import CODEALPACA_REPO, MODELS
from ..config.viewer import multi_user
from ..errors import HubError
from . import hub, hub_token
from .cache_folder import add_entry, read_entries

RECORD = "downloads.json"
"""File in the cache folder: the commit of each cached repository that the Hub served without a token."""
REMEMBER_SECONDS = 600.0
INFO_SECONDS = 10.0
_OFFERED = {CODEALPACA_REPO, *(card.id for card in MODELS)}
_public: dict[Access, float] = {}
_granted: dict[tuple[Access, str], float] = {}
"""When the Hub last gave a repository to a visitor's token, by its digest."""
_came_by_token: set[Access] = set()
"""Repositories that came, or may have come, by a token: a copy in memory is for those whom the Hub gives it.

The host's among them, because guests come when they open a room."""


@dataclass(frozen=True)
class Access:
    """What the lab may use of one repository (``kind``, ``repo``) on behalf of its users."""

    kind: Literal["model", "dataset"]
    repo: str

    @property
    def token(self) -> bool | str | None:
        """The ``token`` argument of huggingface_hub: None uses the host's token if there is one, False uses none.

        The visitor's own where they are signed in and the repository is not public. Raises HubError if the Hub
        refuses it to them.
        """
        from huggingface_hub import get_token

        if self._is_for_all:
            if get_token() is not None:
                self._mark()
            return None
        own = hub_token.current()
        if own is None or self.repo in _OFFERED or (not self._was_granted() and self.is_public()):
            return False
        self._mark()
        self._require_granted(own)
        return own.secret

    def is_known(self, commit: str) -> bool:
        """Whether a cached copy of ``commit`` may be served, decided without a request to the Hub."""
        if self.repo in _OFFERED or read_entries(RECORD).get(self._key) == commit:
            return True
        if self._is_for_all:
            self._mark()
            return True
        return self._was_granted()

    def serves(self, commit: str) -> bool:
        """Whether a cached copy of ``commit`` may be served; checks with the Hub if it can be reached."""
        if self._is_for_all or self.repo in _OFFERED or not hub.hub_reachable():
            return self.is_known(commit)
        if self.is_public():
            self.record(commit)
            return True
        return self._is_granted()

    def record(self, commit: str) -> None:
        """Record that the Hub served this commit, but only if it did so without a token, and so to anyone."""
        from huggingface_hub import get_token

        anonymous = get_token() is None if self._is_for_all else self.token is False
        if anonymous and read_entries(RECORD).get(self._key) != commit:
            add_entry(RECORD, self._key, commit)

    def is_for_everybody(self) -> bool:
        """Whether everybody may read it: the Hub says so, or once gave it without a token."""
        return self.repo in _OFFERED or self._key in read_entries(RECORD) or self.is_public()

    def require_open(self, gated: object) -> None:
        """Raise HubError for a gated repository if no token is used: only its description is public."""
        if gated and self.token is False:
            raise HubError(hub.gated(self.repo))

    def require_readable(self) -> None:
        """Raise HubError for a copy in memory that may have come by a token, if the Hub refuses it to this visitor."""
        if self in _came_by_token and not (self._is_for_all or self.is_public()):
            self._require_granted(hub_token.current())

    def is_readable(self) -> bool:
        """Whether ``require_readable`` raises nothing."""
        try:
            self.require_readable()
        except HubError:
            return False
        return True

    def is_own(self) -> bool:
        """Whether the visitor needs their own token to read it, so that what is made of it is theirs alone."""
        unneeded = hub_token.current() is None or self._is_for_all or self.repo in _OFFERED
        return not unneeded and not self.is_public()

    def _mark(self) -> None:
        if self.repo not in _OFFERED:
            _came_by_token.add(self)

    @property
    def _key(self) -> str:
        return f"{self.kind} {self.repo}"

    @property
    def _is_for_all(self) -> bool:
        """Whether the lab reads it as its host does, for everybody."""
        return not multi_user() or self.repo in listed()

    def _was_granted(self) -> bool:
        """Whether the Hub gave it to the visitor's token in the last ten minutes."""
        own = hub_token.current()
        if own is None or own.is_expired:
            return False
        return time.monotonic() - _granted.get((self, own.digest), -REMEMBER_SECONDS) < REMEMBER_SECONDS

    def _is_granted(self) -> bool:
        own = hub_token.current()
        if own is None:
            return False
        try:
            self._require_granted(own)
        except HubError:
            return False
        return True

    def _require_granted(self, own: hub_token.HubToken | None) -> None:
        """Raise HubError unless the Hub gives it to this token; a positive answer is cached for ten minutes.

        What the token opens is marked, so that a copy in memory is not everybody's.
        Without a token the Hub says why not.
        """
        from huggingface_hub import HfApi

        if own:
            own.require_valid()
            self._mark()
        if self._was_granted():
            return
        with hub.explained(self.repo):
            HfApi(token=own.secret if own else False).auth_check(self.repo, repo_type=self.kind)
        if not own:
            return
        now = time.monotonic()
        for old in [key for key, at in _granted.copy().items() if now - at >= REMEMBER_SECONDS]:
            _granted.pop(old, None)
        _granted[self, own.digest] = now

    def is_public(self) -> bool:
        """Whether the repository is public on the Hub; a positive answer is cached for ten minutes."""
        from huggingface_hub import HfApi
        from huggingface_hub.utils import httpx

        if time.monotonic() - _public.get(self, -REMEMBER_SECONDS) < REMEMBER_SECONDS:
            return True
        if not hub.hub_reachable():
            return False
        try:
            info = HfApi(token=False).repo_info(self.repo, repo_type=self.kind, timeout=INFO_SECONDS)
        except (httpx.HTTPError, OSError, ValueError):
            return False
        if info.gated or info.private:
            return False
        _public[self] = time.monotonic()
        return True


def listed() -> set[str]:
    """The repositories in ``LAB_HOST_REPOS`` (OWNER/NAME, separated by commas)."""
    return {name.strip() for name in os.environ.get("LAB_HOST_REPOS", "").split(",")} - {""}
