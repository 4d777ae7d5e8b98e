"""Upload to a repository on the Hub: the account, the repository, the files one by one, and one commit of all.

Large files go by the LFS protocol, as the lab's downloads avoid Xet: such an upload can be counted and stopped. What
the Hub has of a file's content is not sent again, so a second try goes on after the last file that arrived.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import HubError, LabError, Stopped
from ..text.plain_text import first_line
from ..util.progress import Loading
from . import hub
from .hub_token import EXPIRED, TOKENS_PAGE, HubToken

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

MAX_PAUSE = 20.0
"""The longest pause that the Hub may ask for (``Retry-After``), in seconds; for a longer one the person comes back."""
USUAL_PAUSE = 5.0
"""The pause where the Hub gives no time."""
TRIES = 3
"""How often a request is sent that the Hub asks to send later."""
INFO_SECONDS = 10.0
_AGAIN = "push again, and what has arrived is not sent again"
_uploading: ContextVar[bool] = ContextVar("uploading", default=False)
T = TypeVar("T")


@dataclass(frozen=True)
class Commit:
    """What the Hub has now: the repository's address, the commit, and whether the repository is private."""

    url: str
    commit: str
    private: bool


def upload(
    repo: str,
    files: Mapping[str, bytes | Path],
    own: HubToken,
    to_remove: Callable[[Collection[str]], list[str]],
    loading: Loading,
    *,
    private: bool = False,
) -> Commit:
    """Create ``repo`` (OWNER/NAME) where it is not there, and commit ``files``.

    Args:
        own: The token of who uploads; no other one is used.
        to_remove: Gets the names of the repository's files, and returns those that the commit removes. It raises a
            HubError where the repository must not be touched.
        loading: Hears of the progress, and can stop it before the commit.
        private: Whether the repository is to be private. One that is public already is refused.

    Raises HubError in a sentence with what to do, and Stopped.
    """
    from huggingface_hub import CommitOperationDelete, HfApi, constants

    if not hub.hub_reachable():
        raise HubError("The Hub cannot be reached: go online, and push again.")
    constants.HF_HUB_DISABLE_XET = True
    api = HfApi(token=own.secret)
    with _explained(repo, own):
        loading.enter("Asking the Hub about the account")
        _require_own(api, repo, own, loading)
        head = _head(api, repo, private, loading)
        removed = [CommitOperationDelete(name, is_folder=False) for name in to_remove(head.files)]
        additions = [_sent(api, repo, name, content, loading) for name, content in files.items()]
        loading.enter("Making the commit")
        info = _patiently(
            lambda: api.create_commit(
                repo,
                [*additions, *removed],
                commit_message="Push a run of Instruction-Tuning Lab",
                parent_commit=head.commit,
            ),
            loading,
        )
        return Commit(f"{constants.ENDPOINT}/{repo}", info.oid, head.private)


def fetch_back(repo: str, names: Collection[str], commit: str, own: HubToken, to: Path, loading: Loading) -> Path:
    """Download files of ``repo`` at ``commit`` into a cache of their own below ``to``; returns their folder."""
    with _explained(repo, own):
        for name in names:
            file = hub.download(repo, name, loading, revision=commit, token=own.secret, cache_dir=to)
    return file.parent


@dataclass(frozen=True)
class _Head:
    """The repository before the commit. ``commit``: None for one that was just created."""

    files: tuple[str, ...]
    private: bool
    commit: str | None


def _require_own(api: HfApi, repo: str, own: HubToken, loading: Loading) -> None:
    """Raise HubError where the account may not write under the owner's name."""
    account = _patiently(api.whoami, loading)
    owner = repo.partition("/")[0]
    names = [account["name"], *(org["name"] for org in account.get("orgs", []))]
    if owner.lower() not in (name.lower() for name in names):
        orgs = f", or {', '.join(names[1:5])}" if names[1:] else ""
        raise HubError(f"{owner} is not your account on the Hub: give {names[0]}/{repo.partition('/')[2]}{orgs}.")
    token = account.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise HubError(_no_scope(repo, own))


def _head(api: HfApi, repo: str, private: bool, loading: Loading) -> _Head:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = _patiently(lambda: api.model_info(repo, timeout=INFO_SECONDS), loading)
    except RepositoryNotFoundError:
        loading.enter(f"Creating {repo}")
        _patiently(lambda: api.create_repo(repo, private=private), loading)
        return _Head((), private, None)
    if private and not info.private:
        raise HubError(
            f"{repo} is on the Hub already and public: make it private in its settings there, or push without Private."
        )
    return _Head(tuple(each.rfilename for each in info.siblings or []), bool(info.private), info.sha)


def _sent(api: HfApi, repo: str, name: str, content: bytes | Path, loading: Loading) -> CommitOperationAdd:
    """Send one file's content, unless the Hub takes it with the commit or has it already."""
    from huggingface_hub import CommitOperationAdd

    _refuse_long_pauses()
    loading.enter(f"Reading {name}")
    if not isinstance(content, Path):
        addition = CommitOperationAdd(name, content)
        api.preupload_lfs_files(repo, [addition], free_memory=False)
        return addition
    with _CountedFile(content) as file:
        addition = CommitOperationAdd(name, file)
        loading.enter(f"Uploading {name}", addition.upload_info.size)
        file.loading = loading
        api.preupload_lfs_files(repo, [addition], free_memory=False)
        file.loading = None
        # For the commit, which reads a file again that goes along with it.
        addition.path_or_fileobj = str(content)
    return addition


class _CountedFile(io.BufferedReader):
    """A file whose position is the progress of ``loading``, which can stop the reading."""

    def __init__(self, file: Path):
        super().__init__(io.FileIO(file))
        self.loading: Loading | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if self.loading:
            self.loading.advance(self.tell() - self.loading.done)
        return content


def _patiently(request: Callable[[], T], loading: Loading) -> T:
    """The answer to ``request``, which is sent again after a short pause where the Hub asks for one."""
    from huggingface_hub.errors import HfHubHTTPError

    for tries in range(1, TRIES + 1):
        loading.check()
        try:
            return request()
        except HfHubHTTPError as error:
            pause = _pause(error.response)
            if pause is None or pause > MAX_PAUSE or tries == TRIES:
                raise
        until = time.monotonic() + pause
        while time.monotonic() < until:
            loading.check()
            time.sleep(0.1)
    raise AssertionError("the last try returns or raises")


def _refuse_long_pauses() -> None:
    """Let the Hub's client, which waits for as long as the Hub asks, give up where that is long.

    It makes its connection anew after some errors, so this is called before each file.
    """
    from huggingface_hub.utils import get_session

    session = get_session()
    hooks = session.event_hooks
    if _raise_for_long_pause not in hooks["response"]:
        session.event_hooks = {**hooks, "response": [*hooks["response"], _raise_for_long_pause]}


def _raise_for_long_pause(response: Any) -> None:
    if _uploading.get():
        pause = _pause(response)
        if pause is not None and pause > MAX_PAUSE:
            raise HubError(_too_many(pause))


def _pause(response: Any) -> float | None:
    """The seconds after which a request that came too early (429) may be sent again; None for other answers."""
    from huggingface_hub.utils import parse_ratelimit_headers

    if response is None or response.status_code != 429:
        return None
    limit, after = parse_ratelimit_headers(response.headers), response.headers.get("Retry-After", "").strip()
    if after.isdigit():
        return float(after)
    return float(limit.reset_in_seconds) if limit else USUAL_PAUSE


@contextmanager
def _explained(repo: str, own: HubToken) -> Iterator[None]:
    """Turn errors of the Hub and of the network into a HubError of one sentence; the token is in none of them."""
    from huggingface_hub.utils import httpx

    marked = _uploading.set(True)
    try:
        yield
    except (RuntimeError, ValueError, OSError, httpx.HTTPError) as error:
        # The Hub's client reports an upload that failed as a RuntimeError.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        if isinstance(cause, (LabError, Stopped)):
            raise cause from None
        if type(cause) is RuntimeError:
            raise
        raise HubError(_sentence(cause, repo, own)) from error
    finally:
        _uploading.reset(marked)


def _sentence(error: BaseException, repo: str, own: HubToken) -> str:
    from huggingface_hub.utils import httpx

    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    if status == 401:
        return f"The Hub does not know this token: make one with write access at {TOKENS_PAGE}, or " + (
            EXPIRED[0].lower() + EXPIRED[1:] if own.expires_at else "log in again with `hf auth login`."
        )
    if status in (403, 404):
        return _no_scope(repo, own)
    if status in (409, 412):
        return f"{repo} was made or changed on the Hub by somebody else meanwhile: look at it there, then push again."
    if status == 429:
        return _too_many(_pause(response) or USUAL_PAUSE)
    if status is not None and status >= 500:
        return f"The Hub has a fault of its own at the moment ({status}): {_AGAIN}."
    if isinstance(error, (httpx.TransportError, ConnectionError)):
        return f"The connection to the Hub was lost: {_AGAIN}."
    return f"The Hub did not take {repo}: {first_line(error)}. Mend that, and push again."


def _no_scope(repo: str, own: HubToken) -> str:
    owner = repo.partition("/")[0]
    remedy = (
        "sign in again and let the lab create repositories, or paste a token with write access"
        if own.expires_at
        else f"give it write access to the repositories of {owner} at {TOKENS_PAGE}"
    )
    return f"This token may not write to {repo} on the Hub: {remedy}."


def _too_many(seconds: float) -> str:
    return f"The Hub asks for a pause of {seconds:,.0f} seconds, since it got too many requests: {_AGAIN}."
