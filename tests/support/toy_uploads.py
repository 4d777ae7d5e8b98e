"""The fake Hub's side of an upload: account, repository, preupload, LFS batch and PUT, commit; and faults."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

GITATTRIBUTES = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
STORE = "/lfs-store/"
"""Where the content of large files is put: like the Hub's, it takes no token."""


@dataclass(frozen=True)
class Account:
    """Who has a token. ``role``: ``read``, ``write`` or ``fineGrained``, which writes under the names in ``scopes``."""

    name: str
    orgs: tuple[str, ...] = ()
    role: str = "write"
    scopes: tuple[str, ...] = ()

    def writes_to(self, repo: str) -> bool:
        """Whether the token may write to the repository."""
        owner = repo.partition("/")[0]
        return owner in self.scopes if self.role == "fineGrained" else self.role == "write" and self.owns(owner)

    def owns(self, owner: str) -> bool:
        return owner in (self.name, *self.orgs)


@dataclass
class Fault:
    """What happens instead of an answer to the next ``times`` requests whose ``METHOD /path`` contains ``about``.

    It happens in the middle of the body where there is one. ``hold`` is waited for first. ``status`` 0 closes the
    connection; None answers as usual.
    """

    about: str
    status: int | None = 0
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None


class Uploads:
    """The repositories that people push to, as ``ToyHub`` serves them.

    Args:
        accounts: Accounts by their tokens.
        repos: The files of each repository; the Hub's own models.
    """

    def __init__(self, accounts: Mapping[str, Account], repos: dict[str, dict[str, bytes]]):
        self.accounts, self.repos = dict(accounts), repos
        self.private: set[str] = set()
        self.commits: dict[str, list[str]] = {}
        self.past: dict[str, dict[str, bytes]] = {}
        """The files of each commit."""
        self.lfs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str | None]] = []
        """Each request as ``METHOD /path``, with the token that came with it."""
        self.lock = threading.Lock()

    def fault_of(self, request: str) -> Fault | None:
        """The fault that is due for a request, which counts it."""
        with self.lock:
            for fault in self.faults:
                if fault.about in request and fault.times:
                    fault.times -= 1
                    return fault
        return None

    def reads(self, bearer: str | None, repo: str) -> bool:
        """Whether the token shows the repository."""
        account = self.accounts.get(bearer or "")
        return repo not in self.private or bool(account and account.owns(repo.partition("/")[0]))

    def answer(
        self, method: str, path: str, bearer: str | None, body: bytes, address: str
    ) -> tuple[int, object] | None:
        """The status and JSON of a request that belongs to an upload; None for others."""
        if method == "PUT" and path.startswith(STORE):
            return self._put(path.removeprefix(STORE), bearer, body)
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        account = self.accounts.get(bearer or "")
        if path == "/api/whoami-v2":
            return (200, _described(account)) if account else (401, {"error": "Invalid user token."})
        if method != "POST":
            return None
        if path == "/api/repos/create":
            return self._create(account, json.loads(body), address)
        repo, _, rest = path.removeprefix("/api/models/").removeprefix("/").partition(".git/info/lfs/")
        action = f"lfs {rest}" if rest else ""
        for name in ("preupload", "commit"):
            if f"/{name}/" in path:
                repo, action = path.removeprefix("/api/models/").partition(f"/{name}/")[0], name
        if not action:
            return None
        if repo not in self.repos or not self.reads(bearer, repo):
            return 404, {"error": "Repository not found"}
        if account is None or not account.writes_to(repo):
            return 403, {"error": "Forbidden: pass a token with the write scope"}
        if action == "preupload":
            return 200, {"files": [self._mode(repo, each) for each in json.loads(body)["files"]]}
        if action == "commit":
            return self._commit(repo, [json.loads(line) for line in body.splitlines()], address)
        return 200, {"transfer": "basic", "objects": [self._object(o, address) for o in json.loads(body)["objects"]]}

    def _create(self, account: Account | None, request: Mapping[str, str], address: str) -> tuple[int, object]:
        repo = f"{request['organization']}/{request['name']}"
        if account is None:
            return 401, {"error": "Invalid username or password."}
        if not account.writes_to(repo):
            return 403, {"error": f"You don't have the rights to create a model under {request['organization']}"}
        if repo in self.repos:
            return 409, {"error": "You already created this model repo"}
        self._enter(repo, dict(GITATTRIBUTES))
        if request["visibility"] == "private":
            self.private.add(repo)
        return 200, {"url": f"{address}/{repo}", "name": repo, "id": "1"}

    def _mode(self, repo: str, file: Mapping[str, str]) -> dict[str, object]:
        large = file["path"].endswith(".safetensors") or b"\0" in base64.b64decode(file["sample"])
        there = self.repos[repo].get(file["path"])
        oid = None if there is None else hashlib.sha256(there).hexdigest() if large else git_hash(there)
        mode = {"uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        return {"path": file["path"], **mode, **({"oid": oid} if oid else {})}

    def _object(self, requested: Mapping[str, object], address: str) -> dict[str, object]:
        if requested["oid"] in self.lfs:
            return {**requested}
        return {**requested, "actions": {"upload": {"href": f"{address}{STORE}{requested['oid']}"}}}

    def _put(self, oid: str, bearer: str | None, body: bytes) -> tuple[int, object]:
        if bearer or hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "a token, or other bytes than were announced"}
        self.lfs[oid] = body
        return 200, {}

    def _commit(self, repo: str, lines: list[dict], address: str) -> tuple[int, object]:
        files = dict(self.repos[repo])
        for line in lines:
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (None, self.commits[repo][-1]):
                return 412, {"error": "A commit has happened since. Please refresh and try again."}
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.lfs:
                    return 400, {"error": f"{value['path']}: LFS pointer pointed to a file that does not exist"}
                files[value["path"]] = self.lfs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = self._enter(repo, files)
        return 200, {"success": True, "commitOid": commit, "commitUrl": f"{address}/{repo}/commit/{commit}"}

    def _enter(self, repo: str, files: dict[str, bytes]) -> str:
        commits = self.commits.setdefault(repo, [])
        commit = hashlib.sha1(f"{repo} {len(commits)} {sorted(files)}".encode()).hexdigest()
        commits.append(commit)
        self.repos[repo] = self.past[commit] = files
        return commit


def git_hash(content: bytes) -> str:
    """What git calls a file of that content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _described(account: Account) -> dict[str, object]:
    return {
        "type": "user", "name": account.name, "orgs": [{"type": "org", "name": name} for name in account.orgs],
        "auth": {"type": "access_token", "accessToken": {"displayName": "mine", "role": account.role}},
    }  # fmt: skip
