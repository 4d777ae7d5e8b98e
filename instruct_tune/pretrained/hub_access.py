"""Access rules for the Hub: when the host's token is used, and which cached copies are served.

If several people use the lab, the host's Hugging Face token and cache must not give a visitor what only the host may
read. So the token is used only for the repositories in ``LAB_HOST_REPOS``, and a cached copy is served only if the
repository is public on the Hub.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Literal

from ..config.catalog import CODEALPACA_REPO, MODELS
from ..config.viewer import multi_user
from ..errors import HubError
from . import hub
from .cache_folder import add_entry, read_entries

RECORD = "downloads.json"
"""File in the cache folder: the commit of each cached repository that the Hub served without a token."""
REMEMBER_SECONDS = 600.0
INFO_SECONDS = 10.0
_OFFERED = {CODEALPACA_REPO, *(card.id for card in MODELS)}
_public: dict[Access, float] = {}


@dataclass(frozen=True)
class Access:
    """What the lab may use of one repository (``kind``, ``repo``) on behalf of its users."""

    kind: Literal["model", "dataset"]
    repo: str

    @property
    def token(self) -> bool | None:
        """The ``token`` argument of huggingface_hub: None uses the host's token if there is one, False uses none."""
        return False if multi_user() and self.repo not in listed() else None

    def is_known(self, commit: str) -> bool:
        """Whether a cached copy of ``commit`` may be served, decided without a request to the Hub."""
        return self.token is None or self.repo in _OFFERED or read_entries(RECORD).get(self._key) == commit

    def serves(self, commit: str) -> bool:
        """Whether a cached copy of ``commit`` may be served; checks with the Hub if it can be reached."""
        if self.token is None or self.repo in _OFFERED or not hub.hub_reachable():
            return self.is_known(commit)
        if public := self._is_public():
            self.record(commit)
        return public

    def record(self, commit: str) -> None:
        """Record that the Hub served this commit, but only if it did so without a token, and so to anyone."""
        from huggingface_hub import get_token

        if (self.token is False or get_token() is None) and read_entries(RECORD).get(self._key) != commit:
            add_entry(RECORD, self._key, commit)

    def require_open(self, gated: object) -> None:
        """Raise HubError for a gated repository if no token is used: only its description is public."""
        if self.token is False and gated:
            raise HubError(hub.gated(self.repo))

    @property
    def _key(self) -> str:
        return f"{self.kind} {self.repo}"

    def _is_public(self) -> bool:
        """Whether the repository is public on the Hub; a positive answer is cached for ten minutes."""
        from huggingface_hub import HfApi
        from huggingface_hub.utils import httpx

        if time.monotonic() - _public.get(self, -REMEMBER_SECONDS) < REMEMBER_SECONDS:
            return True
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
