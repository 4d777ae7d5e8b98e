"""A dataset on its way: what is being done, how much of it has come, and a way to stop it."""

from __future__ import annotations

import threading
import time

from ..errors import Stopped


class Loading:
    """Written by the thread that loads, read by whoever waits for it.

    ``phase`` is in words; ``done`` and ``total`` are bytes of a download, ``total`` 0 where there is
    nothing to count.
    """

    def __init__(self) -> None:
        self.phase = ""
        self.done = self.total = 0
        self._began = time.monotonic()
        self._stop = threading.Event()

    def enter(self, phase: str, total: int = 0) -> None:
        """Begin ``phase``. Raises Stopped where that was asked for."""
        self.check()
        self.phase, self.done, self.total, self._began = phase, 0, total, time.monotonic()

    def advance(self, count: int) -> None:
        """``count`` more bytes have come. Raises Stopped where that was asked for."""
        self.check()
        self.done += count

    @property
    def speed(self) -> float:
        """Bytes a second since the phase began."""
        return self.done / max(1e-3, time.monotonic() - self._began)

    def check(self) -> None:
        """A breathing point. Raises Stopped where that was asked for."""
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        """Ask the thread that loads to leave at its next breathing point."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set()
