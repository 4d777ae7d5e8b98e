"""Upload to a repository on the Hub: the account, the repository, the files one by one, and one commit of all.

Large files go by the LFS protocol, as the lab's downloads avoid Xet: such an upload can be counted and stopped. What
the Hub has of a file's content is not sent again, so a second try goes on after the last file that arrived.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HubError
from ..util.progress import Loading
from . import hub
from .hub_faults import Wording, explained, no_access, patiently, refuse_long_pauses
from .hub_token import TOKENS_PAGE, HubToken

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

INFO_SECONDS = 10.0
AGAIN = "push again, and what has arrived is not sent again"
_LOOK = "look at it there, then push again"


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
    message: str = "Push a run of Instruction-Tuning Lab",
    again: str = AGAIN,
) -> Commit:
    """Create ``repo`` (OWNER/NAME) where it is not there, and commit ``files``.

    Args:
        own: The token of who uploads; no other one is used.
        to_remove: Gets the names of the repository's files, and returns those that the commit removes. It raises a
            HubError where the repository must not be touched.
        loading: Hears of the progress, and can stop it before the commit.
        private: Whether the repository is to be private. One that is public already is refused.
        message: The commit's.
        again: What a person does after a fault that passes.

    Raises HubError in a sentence with what to do, and Stopped.
    """
    from huggingface_hub import CommitOperationDelete, HfApi, constants

    if not hub.hub_reachable():
        raise HubError("The Hub cannot be reached: go online, and push again.")
    constants.HF_HUB_DISABLE_XET = True
    api = HfApi(token=own.secret)
    with explained(own, _wording(repo, own, again)):
        loading.enter("Asking the Hub about the account")
        _require_own(api, repo, own, loading)
        head = _head(api, repo, private, loading)
        removed = [CommitOperationDelete(name, is_folder=False) for name in to_remove(head.files)]
        additions = [_sent(api, repo, name, content, loading) for name, content in files.items()]
        loading.enter("Making the commit")
        info = patiently(
            lambda: api.create_commit(
                repo,
                [*additions, *removed],
                commit_message=message,
                parent_commit=head.commit,
            ),
            loading,
        )
        return Commit(f"{constants.ENDPOINT}/{repo}", info.oid, head.private)


def fetch_back(
    repo: str, names: Collection[str], commit: str, own: HubToken, to: Path, loading: Loading, again: str = AGAIN
) -> Path:
    """Download files of ``repo`` at ``commit`` into a cache of their own below ``to``; returns their folder."""
    with explained(own, _wording(repo, own, again)):
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
    account = patiently(api.whoami, loading)
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
        info = patiently(lambda: api.model_info(repo, timeout=INFO_SECONDS), loading)
    except RepositoryNotFoundError:
        loading.enter(f"Creating {repo}")
        patiently(lambda: api.create_repo(repo, private=private), loading)
        return _Head((), private, None)
    if private and not info.private:
        raise HubError(
            f"{repo} is on the Hub already and public: make it private in its settings there, or push without Private."
        )
    return _Head(tuple(each.rfilename for each in info.siblings or []), bool(info.private), info.sha)


def _sent(api: HfApi, repo: str, name: str, content: bytes | Path, loading: Loading) -> CommitOperationAdd:
    """Send one file's content, unless the Hub takes it with the commit or has it already."""
    from huggingface_hub import CommitOperationAdd

    refuse_long_pauses()
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


def _wording(repo: str, own: HubToken, again: str = AGAIN) -> Wording:
    refused, changed = _no_scope(repo, own), f"{repo} was made or changed on the Hub by somebody else meanwhile"
    return Wording(
        again,
        f"The Hub did not take {repo}",
        {403: refused, 404: refused, 409: f"{changed}: {_LOOK}.", 412: f"{changed}: {_LOOK}."},
    )


def _no_scope(repo: str, own: HubToken) -> str:
    return no_access(
        own,
        f"write to {repo} on the Hub",
        f"give it write access to the repositories of {repo.partition('/')[0]} at {TOKENS_PAGE}",
        "sign in again and let the lab create repositories, or paste a token with write access",
    )
