"""A headless Firefox over Marionette, its own remote protocol, so that no further driver is needed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patience import machine_slowness

INSTALLED = shutil.which("firefox-esr") or shutil.which("firefox")
OWN_HOSTS = (b".mozilla.", b".firefox.com", b".googleapis.com")
"""Whom Firefox itself asks for updates and settings, whatever page is open."""
PATIENCE = 120 * machine_slowness()
"""Timeout of a start, a page and a wait, in seconds."""


class Firefox:
    """One window, whose every connection goes to a proxy that lets nothing through.

    ``requests``: the first line of each request but Firefox's own.
    """

    def __init__(self, port: int, requests: list[bytes]):
        self.requests, self._number = requests, 0
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=2 * PATIENCE)
        self._answers = self._socket.makefile("rb")
        self._read()
        self._command("WebDriver:NewSession", capabilities={"alwaysMatch": {"unhandledPromptBehavior": "ignore"}})
        milliseconds = int(1000 * PATIENCE)
        self._command("WebDriver:SetTimeouts", pageLoad=milliseconds, script=milliseconds)

    def open(self, file: Path) -> None:
        """Open a file and wait until it is loaded."""
        self._command("WebDriver:Navigate", url=file.as_uri())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, with the page's own globals."""
        return self._command("WebDriver:ExecuteScript", script=f"return {expression}", args=[], sandbox=None)["value"]

    def wait_for(self, expression: str) -> None:
        """Wait until the expression holds."""
        deadline = time.monotonic() + PATIENCE
        while not self.evaluate(f"!!({expression})"):
            assert time.monotonic() < deadline, expression
            time.sleep(0.2)

    def _command(self, name: str, **parameters: Any) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, name, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, number, error, value = self._read()
        assert (number, error) == (self._number, None)
        return value

    def _read(self) -> Any:
        length = b""
        while (digit := self._answers.read(1)) != b":":
            assert digit, "Firefox has closed the connection"
            length += digit
        return json.loads(self._answers.read(int(length)))


@contextmanager
def firefox(profile: Path) -> Iterator[Firefox]:
    """Start Firefox with a new profile in the folder ``profile``."""
    assert INSTALLED
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        threading.Thread(target=_refuse, args=(proxy, requests), daemon=True).start()
        preferences = {
            "marionette.port": 0,
            "network.proxy.type": 1,
            "network.proxy.http": "127.0.0.1",
            "network.proxy.http_port": proxy.getsockname()[1],
            "network.proxy.ssl": "127.0.0.1",
            "network.proxy.ssl_port": proxy.getsockname()[1],
            "network.proxy.allow_hijacking_localhost": True,
        }
        profile.mkdir()
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        (profile / "user.js").write_text("".join(lines))
        command = [INSTALLED, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
        with (profile / "log.txt").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                yield Firefox(_port(profile, process), requests)
            finally:
                process.terminate()


def _port(profile: Path, process: subprocess.Popen) -> int:
    """The port that Firefox has chosen for Marionette, which it writes into its profile."""
    deadline = time.monotonic() + PATIENCE
    while True:
        file = profile / "MarionetteActivePort"
        if file.is_file() and (port := file.read_text()):
            return int(port)
        going = process.poll() is None and time.monotonic() < deadline
        assert going, (profile / "log.txt").read_text()
        time.sleep(0.2)


def _refuse(proxy: socket.socket, requests: list[bytes]) -> None:
    while True:
        try:
            connection, _ = proxy.accept()
        except OSError:  # the test has ended
            return
        with connection:
            line = connection.recv(4096).partition(b"\r\n")[0]
            if not any(host in line for host in OWN_HOSTS):
                requests.append(line)
