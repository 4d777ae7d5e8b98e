"""Access to the Hugging Face Hub: a fast reachability probe, error messages and stoppable downloads.

The Hub's client retries for 20 to 30 seconds before it gives up. Code that needs the Hub therefore calls
``hub_reachable`` first, which probes at most once a minute.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config.environment import offers_sign_in
from ..config.viewer import multi_user
from ..errors import HubError
from ..util.progress import Loading
from . import hub_token

PROBE_SECONDS = 4.0
REMEMBER_SECONDS = 60.0
PIECE = 256 * 1024
"""Bytes between two checks for a stop request."""
_last: tuple[float, bool] = (-REMEMBER_SECONDS, False)


def hub_reachable() -> bool:
    """Whether the Hub answers one small request within ``PROBE_SECONDS``; cached for ``REMEMBER_SECONDS``."""
    global _last
    probed, reachable = _last
    if time.monotonic() - probed > REMEMBER_SECONDS:
        reachable = _probe()
        _last = (time.monotonic(), reachable)
    return reachable


def _probe() -> bool:
    # The httpx that huggingface_hub uses, and whose errors it raises, depends on its version.
    from huggingface_hub import constants
    from huggingface_hub.utils import httpx

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=PROBE_SECONDS, follow_redirects=False)
    except (httpx.HTTPError, OSError):
        return False
    return True


def explain(error: Exception, what: str) -> HubError:
    """The HubError for a failed request for ``what`` (``OWNER/NAME``): one sentence with what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return HubError(gated(what))
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(_missing(what))
    if isinstance(error, errors.HFValidationError):
        return HubError(f"{what!r} is not a Hub id: it should look like OWNER/NAME.")
    if hub_token.current() and isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        if error.response.status_code == 401:
            return HubError(hub_token.EXPIRED)
        if error.response.status_code == 403:
            return HubError(f"Your Hugging Face sign-in does not let this lab read {what}: {_SCOPE}.")
    message = (str(error).strip() or "no message").splitlines()[0][:200]
    return HubError(f"The Hub did not give {what}: {type(error).__name__}: {message}")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn errors of the Hub and of the network into a HubError of one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import httpx

    try:
        yield
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        raise explain(error, what) from error


def gated(repo: str) -> str:
    """The message for a gated repository, with what to do."""
    if hub_token.current():
        return (
            f"{repo} is gated on the Hub: accept its terms on its page as the account you signed in with, or {_SCOPE}."
        )
    if multi_user():
        sign_in = "sign in at the foot of the page with an account that has access, " if offers_sign_in() else ""
        return (
            f"{repo} is gated on the Hub, and this lab uses its host's token only for repositories that the host lists "
            f"in LAB_HOST_REPOS: {sign_in}choose another one, or ask the host."
        )
    return f"{repo} is gated on the Hub: accept its terms on its page, log in with `hf auth login`, and try again."


_SCOPE = "sign in again and let the lab read your repositories"


def _missing(repo: str) -> str:
    """The message for a repository that the Hub does not show: it never says whether a private one exists."""
    if hub_token.current():
        return f"The Hub shows your account no {repo}: check the spelling of OWNER/NAME, or {_SCOPE}."
    sign_in = ", or sign in at the foot of the page if it is yours" if offers_sign_in() else ""
    return f"The Hub has no {repo} (or it is private): check the spelling of OWNER/NAME{sign_in}."


def download(repo: str, name: str, loading: Loading, **which: Any) -> Path:
    """Download one file into the Hub's cache; returns its path. Each piece updates ``loading``, which can stop it.

    ``which``: further arguments of ``hf_hub_download`` (revision, repo_type, token). A partial file is never taken
    for complete. Raises Stopped.
    """
    from huggingface_hub import constants, hf_hub_download

    # Xet downloads cannot be stopped, and the default chunk of 10 MB is a long wait on a slow connection.
    constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = True, PIECE
    loading.check()
    return Path(hf_hub_download(repo, name, tqdm_class=_counting(loading), **which))


def download_all(repo: str, sizes: Mapping[str, int], loading: Loading, **which: Any) -> Path:
    """``download`` each file in ``sizes`` (bytes by name); returns the path of the last one."""
    file = Path()
    for name, size in sizes.items():
        begun = loading.done
        file = download(repo, name, loading, **which)
        # Cached bytes were not counted during the download.
        loading.advance(max(0, size - (loading.done - begun)))
    return file


def _counting(loading: Loading) -> type:
    """A hidden tqdm class that passes the Hub client's progress to ``loading``."""
    from huggingface_hub.utils import tqdm

    class Counting(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            loading.advance(int(n or 0))
            return super().update(n)

    return Counting
