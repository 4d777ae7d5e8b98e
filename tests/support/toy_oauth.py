"""A fake OAuth server: everybody who comes is one account, with a token of the test's choice."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CLIENT_ID, CLIENT_SECRET = "the-space", "the secret of the Space"


class ToyOAuth:
    """Who signs in next: ``account`` (its stable id), ``name``, and the ``token``, which lives ``seconds``."""

    def __init__(self, account: str, name: str, token: str, seconds: float = 3600.0):
        from joserfc.jwk import RSAKey

        self.account, self.name, self.token, self.seconds = account, name, token, seconds
        self.key = RSAKey.generate_key(2048, {"kid": "toy", "use": "sig"})
        self.nonces: dict[str, str] = {}

    def environment(self, address: str) -> dict[str, str]:
        """The variables of a Space whose visitors sign in here."""
        return {
            "SYSTEM": "spaces", "SPACE_ID": "somebody/lab", "OAUTH_CLIENT_ID": CLIENT_ID,
            "OAUTH_CLIENT_SECRET": CLIENT_SECRET, "OAUTH_SCOPES": "openid profile read-repos",
            "OPENID_PROVIDER_URL": address,
        }  # fmt: skip


@contextmanager
def serving_oauth(oauth: ToyOAuth) -> Iterator[str]:
    """Serve on a free port; yields the value for OPENID_PROVIDER_URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"oauth": oauth}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    oauth: ToyOAuth

    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        address = f"http://{self.headers['Host']}"
        url = urllib.parse.urlparse(self.path)
        if url.path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            self._json({"issuer": address} | {key: f"{address}/{name}" for key, name in names.items()})
        elif url.path == "/keys":
            self._json({"keys": [self.oauth.key.as_dict(private=False)]})
        else:
            query = dict(urllib.parse.parse_qsl(url.query))
            code = f"code-{len(self.oauth.nonces)}"
            self.oauth.nonces[code] = query["nonce"]
            self.send_response(302)
            back = urllib.parse.urlencode({"code": code, "state": query["state"]})
            self.send_header("Location", f"{query['redirect_uri']}{'&' if '?' in query['redirect_uri'] else '?'}{back}")
            self.end_headers()

    def do_POST(self) -> None:
        from joserfc import jwt

        oauth, now = self.oauth, int(time.time())
        body = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        claims = {
            "iss": f"http://{self.headers['Host']}", "aud": CLIENT_ID, "sub": oauth.account, "iat": now,
            "exp": now + 3600, "nonce": oauth.nonces[body["code"]], "preferred_username": oauth.name,
            "name": oauth.name, "profile": "", "picture": "",
        }  # fmt: skip
        self._json(
            {
                "access_token": oauth.token, "token_type": "bearer", "expires_at": now + oauth.seconds,
                "scope": "openid profile read-repos", "id_token": jwt.encode({"alg": "RS256"}, claims, oauth.key),
            }
        )  # fmt: skip

    def _json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)
