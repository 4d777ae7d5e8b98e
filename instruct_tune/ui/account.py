"""Whose Hugging Face account is behind a request.

gradio keeps account and token of who has signed in in a cookie, signed with the OAuth secret of the Space: a forged one
is an empty session. The lab stores neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..config.environment import offers_sign_in
from ..pretrained.hub_token import HubToken


def account_of(request: Any) -> str | None:
    """The stable id (``sub``) of the account that sent the request; None where nobody has signed in, or it expired."""
    token = token_of(request)
    return None if token is None or token.is_expired else str(_oauth_info(request)["userinfo"]["sub"])


def name_of(request: Any) -> str | None:
    """The account's user name, where ``account_of`` knows the account."""
    known = account_of(request) is not None
    return str(_oauth_info(request)["userinfo"].get("preferred_username") or "") if known else None


def token_of(request: Any) -> HubToken | None:
    """The token of the account that sent the request, even if it has expired; None where nobody has signed in."""
    info = _oauth_info(request)
    return HubToken(info["access_token"], info.get("expires_at")) if info else None


def _oauth_info(request: Any) -> Mapping[str, Any]:
    """What gradio keeps of a sign-in; empty where there is none."""
    # A gradio request wraps the server's; a script's call from within the process has none.
    sent = getattr(request, "request", None) or request
    scope = getattr(sent, "scope", None) if offers_sign_in() else None
    if not scope or _is_foreign(sent.headers):
        return {}
    info: Mapping[str, Any] | None = scope.get("session", {}).get("oauth_info")
    return info or {}


def _is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether another site's page sent the request: gradio's cookie goes along with those, too."""
    origin = headers.get("origin")
    hosts = (headers.get("host"), headers.get("x-forwarded-host"))
    return bool(origin) and urlsplit(origin).netloc not in hosts
