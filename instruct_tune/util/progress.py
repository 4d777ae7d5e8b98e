"""A dataset or model on its way: what is being done, how much of it has come, and a way to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import Stopped

FOLLOW_SECONDS = 2.0
"""At least so long between two messages about the same download."""


class Loading:
    """Written by the thread that loads, read by whoever waits for it.

    ``phase`` is in words; ``done`` and ``total`` are bytes of a download, ``total`` 0 where there is
    nothing to count. ``stopping`` says whether to stop, beside ``stop``; ``follow`` gets a message every few
    seconds while bytes come.
    """

    def __init__(
        self, stopping: Callable[[], bool] | None = None, follow: Callable[[str], object] | None = None
    ) -> None:
        self.phase = ""
        self.done = self.total = 0
        self._began = self._followed = time.monotonic()
        self._stop = threading.Event()
        self._stopping, self._follow = stopping, follow

    def enter(self, phase: str, total: int = 0) -> None:
        """Begin ``phase``. Raises Stopped where that was asked for."""
        self.check()
        self.phase, self.done, self.total, self._began = phase, 0, total, time.monotonic()

    def advance(self, count: int) -> None:
        """``count`` more bytes have come. Raises Stopped where that was asked for."""
        self.check()
        self.done += count
        if self._follow and self.total and time.monotonic() - self._followed >= FOLLOW_SECONDS:
            self._followed = time.monotonic()
            self._follow(f"{self.phase}: {megabytes(self.done, self.total, self.speed)}")

    @property
    def speed(self) -> float:
        """Bytes a second since the phase began."""
        return self.done / max(1e-3, time.monotonic() - self._began)

    def check(self) -> None:
        """A breathing point. Raises Stopped where that was asked for."""
        if self.stopped:
            raise Stopped

    def stop(self) -> None:
        """Ask the thread that loads to leave at its next breathing point."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set() or bool(self._stopping and self._stopping())


def megabytes(done: int, total: int, speed: float) -> str:
    """How far a download is, for people: bytes that have come, of how many, and how many come in a second."""
    return f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB, {speed / 1e6:,.1f} MB/s"
