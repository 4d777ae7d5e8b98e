"""Whether the Hugging Face Hub can be reached, found out in seconds instead of half a minute.

The Hub's own client retries for 20 to 30 seconds before it gives up. Everything that is about to
ask the Hub asks here first, once a minute at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config.viewer import multi_user
from ..errors import HubError
from ..util.progress import Loading

PROBE_SECONDS = 4.0
REMEMBER_SECONDS = 60.0
PIECE = 256 * 1024
"""Bytes between two looks at whether the download is still wanted."""
_last: tuple[float, bool] = (-REMEMBER_SECONDS, False)


def hub_reachable() -> bool:
    """True when one small request to the Hub is answered within ``PROBE_SECONDS``."""
    global _last
    asked, answer = _last
    if time.monotonic() - asked > REMEMBER_SECONDS:
        answer = _probe()
        _last = (time.monotonic(), answer)
    return answer


def _probe() -> bool:
    # Through huggingface_hub, since which httpx it uses (and raises errors of) depends on its version.
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
    """The Hub's refusal of ``what`` (an ``OWNER/NAME``) as one sentence that says what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return HubError(gated(what))
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(f"The Hub has no {what} (or it is private): check the spelling of OWNER/NAME.")
    if isinstance(error, errors.HFValidationError):
        return HubError(f"{what!r} is not a Hub id: it should look like OWNER/NAME.")
    said = (str(error).strip() or "no message").splitlines()[0][:200]
    return HubError(f"The Hub did not give {what}: {type(error).__name__}: {said}")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the refusals of the Hub, and of the way to it, into a HubError of one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import httpx

    try:
        yield
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError) as error:
        raise explain(error, what) from error


def gated(repo: str) -> str:
    """What a person can do about a gated repository."""
    if multi_user():
        return (
            f"{repo} is gated on the Hub, and this lab uses its host's token only for repositories that the host lists "
            "in LAB_HOST_REPOS: choose another one, or ask the host."
        )
    return f"{repo} is gated on the Hub: accept its terms on its page, log in with `hf auth login`, and try again."


def download(repo: str, name: str, loading: Loading, **which: Any) -> Path:
    """Bring one file into the Hub's cache; every piece that comes is counted, and a point at which to stop.

    ``which``: its revision, the repository's type, and the token. Part of a file is never taken for the whole.
    """
    from huggingface_hub import constants, hf_hub_download

    # Its other protocol cannot be stopped, and ten megabytes at once are a long silence on a slow line.
    constants.HF_HUB_DISABLE_XET, constants.DOWNLOAD_CHUNK_SIZE = True, PIECE
    loading.check()
    return Path(hf_hub_download(repo, name, tqdm_class=_counting(loading), **which))


def download_all(repo: str, sizes: Mapping[str, int], loading: Loading, **which: Any) -> Path:
    """``download`` for each of the files in ``sizes`` (bytes by name); returns where the last of them is."""
    file = Path()
    for name, size in sizes.items():
        begun = loading.done
        file = download(repo, name, loading, **which)
        # Bytes that were in the cache already have not been counted.
        loading.advance(max(0, size - (loading.done - begun)))
    return file


def _counting(loading: Loading) -> type:
    """A progress bar that nobody sees, for the Hub's client to report to."""
    from huggingface_hub.utils import tqdm

    class Counting(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            loading.advance(int(n or 0))
            return super().update(n)

    return Counting
