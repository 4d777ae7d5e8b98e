"""A process that has imported what ``app.py`` imports, and forks a server of the page whenever a test wants one.

A server of its own imports for some eleven seconds of a processor. Run as a program it reads one request a line, a JSON
object with ``argv``, ``environment`` and ``log``, and writes the process id of the server.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Forked:
    """A server that the preloaded process has forked: what ``subprocess.Popen`` offers for it."""

    def __init__(self, pid: int):
        self._pid, self._end = pid, os.pidfd_open(pid)

    def poll(self) -> int | None:
        """0 once the process has ended; None before. The exit status is its parent's to know."""
        return 0 if select.select([self._end], [], [], 0)[0] else None

    def wait(self, timeout: float) -> None:
        """Wait for the end. Raises TimeoutExpired."""
        if not select.select([self._end], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("app.py", timeout)

    def terminate(self) -> None:
        signal.pidfd_send_signal(self._end, signal.SIGTERM)

    def kill(self) -> None:
        signal.pidfd_send_signal(self._end, signal.SIGKILL)


def fork(argv: list[str], environment: dict[str, str], log: Path) -> Forked:
    """A new ``app.py`` with these flags and variables. It writes to ``log``."""
    parent = _parent()
    parent.stdin.write(json.dumps({"argv": argv, "environment": environment, "log": str(log)}) + "\n")
    parent.stdin.flush()
    return Forked(int(parent.stdout.readline()))


@cache
def _parent() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", __file__], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def main() -> None:
    sys.path.insert(0, str(ROOT))
    import app
    import instruct_tune.ui  # noqa: F401
    from instruct_tune.services.slow_imports import SlowImports

    SlowImports().warm_up()
    gc.freeze()
    # The servers that have ended are nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
            app.end_process(app.main())
        print(pid)


def _become(request: dict[str, Any]) -> None:
    """Take over the flags, the variables and the files of a server."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log, nothing = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT), os.open(os.devnull, os.O_RDONLY)
    for number, file in ((0, nothing), (1, log), (2, log)):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]


if __name__ == "__main__":
    main()
