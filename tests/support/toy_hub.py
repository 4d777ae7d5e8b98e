"""A fake Hugging Face Hub: what loading a dataset or model needs, as slow as a test wants, uploads and jobs."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from toy_jobs import Jobs
from toy_uploads import Account, Uploads

COMMIT = "a" * 40
TOKEN = "hf_of_the_host"
PIECE = 64 * 1024


class ToyHub:
    """The content of the fake Hub, and a record of its requests.

    Args:
        files: Files of each dataset, by its id.
        pause: Seconds before each 64 KB of a file.
        models: Files of each model, by its id.
        private: Repositories that need ``TOKEN``.
        gated: Repositories whose files need ``TOKEN``, and whose description does not.
        sizes: Bytes that a model's description gives for a file in place of its real size.
        readers: Further tokens, and the private and gated repositories that each may read.
        unscoped: Tokens of accounts that let nobody read their repositories. Any other token is invalid.
        accounts: Tokens of accounts that push, see ``uploads``.
    """

    def __init__(
        self,
        files: dict[str, dict[str, bytes]],
        pause: float = 0.0,
        models: dict[str, dict[str, bytes]] | None = None,
        private: tuple[str, ...] = (),
        gated: tuple[str, ...] = (),
        sizes: dict[str, int] | None = None,
        readers: dict[str, tuple[str, ...]] | None = None,
        unscoped: tuple[str, ...] = (),
        accounts: dict[str, Account] | None = None,
    ):
        self.files, self.pause = files, pause
        self.models, self.private, self.gated = models or {}, private, gated
        self.sizes = sizes or {}
        self.readers, self.unscoped = readers or {}, unscoped
        self.uploads, self.jobs = Uploads(accounts or {}, self.models), Jobs()
        self.tokens: set[str | None] = set()
        self.requests: list[str] = []
        self.sent = 0


@contextmanager
def serving_hub(hub: ToyHub) -> Iterator[str]:
    """Serve the Hub on a free port; yields the value for HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch, hub: ToyHub) -> Iterator[str]:
    """Serve the Hub as the one that this process uses; yields its address."""
    from huggingface_hub import constants

    from instruct_tune.pretrained import hub as client

    monkeypatch.setattr(client, "_last", (-client.REMEMBER_SECONDS, False))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving_hub(hub) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield address


class _Handler(BaseHTTPRequestHandler):
    hub: ToyHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_POST(self) -> None:
        self._answer(with_body=True)

    def do_PUT(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        address = urllib.parse.urlparse(self.path)
        path, query = urllib.parse.unquote(address.path), urllib.parse.parse_qs(address.query)
        self.hub.requests.append(f"{self.command} {path}")
        token = self.headers.get("Authorization")
        if path != "/":
            self.hub.tokens.add(token)
        bearer = token.removeprefix("Bearer ") if token else None
        length, uploads = int(self.headers.get("Content-Length") or 0), self.hub.uploads
        uploads.seen.append((f"{self.command} {path}", bearer))
        body = b""
        if fault := uploads.fault_of(f"{self.command} {path}"):
            body = self.rfile.read(length // 2)
            if fault.hold:
                fault.hold.wait(60)
            if fault.status == 0:
                return self._close()
            if fault.status is not None:
                self.rfile.read(length - len(body))
                return self._send(fault.status, b'{"error": "as the test wants"}', dict(fault.headers), with_body)
        body += self.rfile.read(length - len(body))
        if path == "/":
            return self._send(200, b"", {}, with_body)
        pushed = uploads.answer(self.command, path, bearer, body, f"http://{self.headers['Host']}")
        job = self.hub.jobs.answer(self.command, path, query, uploads.accounts.get(bearer or ""), body)
        if job and isinstance(job[1], bytes):
            return self._log(job[1])
        pushed = pushed or job
        if pushed:
            content = json.dumps(pushed[1]).encode()
            return self._send(pushed[0], content, {"Content-Type": "application/json"}, with_body)
        if bearer not in (None, TOKEN, *self.hub.readers, *self.hub.unscoped, *uploads.accounts):
            return self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"}, with_body)
        sides = (("/api/datasets/", "/datasets/", self.hub.files), ("/api/models/", "/", self.hub.models))
        for described, resolved, repos in sides:
            for repo, files in list(repos.items()):
                about = f"{described}{repo}"
                if path.startswith((about, f"{resolved}{repo}/resolve/")):
                    trusted = bearer == TOKEN or repo in self.hub.readers.get(bearer or "", ())
                    if not uploads.reads(bearer, repo):
                        return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
                    if bearer in self.hub.unscoped and repo in (*self.hub.private, *self.hub.gated):
                        return self._send(403, b"{}", {}, with_body)
                    if repo in self.hub.private and not trusted:
                        return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
                    if repo in self.hub.gated and not trusted and path != about:
                        return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, with_body)
                    if path.startswith(about):
                        return self._json(self._about(repo, files, path.removeprefix(about), body), with_body)
                    revision, _, name = path.removeprefix(f"{resolved}{repo}/resolve/").partition("/")
                    at = uploads.past.get(revision, files)
                    return self._file(at.get(name), with_body, revision if at is not files else self._commit(repo))
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)

    def _about(self, repo: str, files: dict[str, bytes], rest: str, body: bytes) -> object:
        entries = [
            {"type": "file", "oid": _tag(content), "size": len(content), "path": name}
            for name, content in files.items()
        ]
        if rest.startswith("/tree/"):
            return entries
        if rest.startswith("/paths-info/"):
            paths = urllib.parse.parse_qs(body.decode()).get("paths", [])
            if body.startswith(b"{"):
                paths = json.loads(body)["paths"]
            return [entry for entry in entries if entry["path"] in paths]
        return {
            "id": repo, "_id": "1", "sha": self._commit(repo),
            "private": repo in (*self.hub.private, *self.hub.uploads.private),
            "gated": "manual" if repo in self.hub.gated else False, "disabled": False, "downloads": 0,
            "likes": 0, "tags": [], "cardData": {"license": "mit"},
            "siblings": [
                {"rfilename": name, "size": self.hub.sizes.get(name, len(content))} for name, content in files.items()
            ],
        }  # fmt: skip

    def _commit(self, repo: str) -> str:
        return self.hub.uploads.commits.get(repo, [COMMIT])[-1]

    def _close(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _log(self, events: bytes) -> None:
        if not self.hub.jobs.cuts:
            self._send(200, events, {"Content-Type": "text/event-stream"}, True)
            return
        self.hub.jobs.cuts -= 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(events)))
        self.end_headers()
        self.wfile.write(events[: len(events) // 2])
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _file(self, content: bytes | None, with_body: bool, commit: str = COMMIT) -> None:
        if content is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
        headers = {"ETag": f'"{_tag(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        return self._send(200, content, headers, with_body, slowly=True)

    def _json(self, value: object, with_body: bool) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, with_body)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], with_body: bool, slowly: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body:
            return
        for start in range(0, len(content), PIECE):
            if slowly:
                time.sleep(self.hub.pause)
            try:
                self.wfile.write(content[start : start + PIECE])
            except (BrokenPipeError, ConnectionResetError):  # the client has disconnected
                return
            self.hub.sent += slowly


def _tag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
