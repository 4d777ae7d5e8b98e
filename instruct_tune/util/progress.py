"""Progress of loading a dataset or model: phase, downloaded bytes, and a stop request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import Stopped

FOLLOW_SECONDS = 2.0
"""Minimum time between two progress messages of a download."""


class Loading:
    """Progress of one load, written by the loading thread and read by others.

    ``phase`` is a text for people. ``done`` and ``total`` are bytes of a download; ``total`` is 0 if nothing is
    counted. ``stopping`` is polled as a second stop condition besides ``stop``. ``follow`` receives a message every
    ``FOLLOW_SECONDS`` during a download.
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
        """Begin ``phase``. Raises Stopped if a stop was requested."""
        self.check()
        self.phase, self.done, self.total, self._began = phase, 0, total, time.monotonic()

    def advance(self, count: int) -> None:
        """Count ``count`` more downloaded bytes. Raises Stopped if a stop was requested."""
        self.check()
        self.done += count
        if self._follow and self.total and time.monotonic() - self._followed >= FOLLOW_SECONDS:
            self._followed = time.monotonic()
            self._follow(f"{self.phase}: {megabytes(self.done, self.total, self.speed)}")

    @property
    def speed(self) -> float:
        """Bytes per second since the phase began."""
        return self.done / max(1e-3, time.monotonic() - self._began)

    def check(self) -> None:
        """Raise Stopped if a stop was requested."""
        if self.stopped:
            raise Stopped

    def stop(self) -> None:
        """Request a stop; the loading thread raises Stopped at its next ``check``."""
        self._stop.set()

    @property
    def stop_request(self) -> threading.Event:
        """The event that ``stop`` sets, for what waits for an event."""
        return self._stop

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""
        return self._stop.is_set() or bool(self._stopping and self._stopping())


def megabytes(done: int, total: int, speed: float) -> str:
    """Progress of a download as text: bytes done, total bytes, bytes per second."""
    return f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB, {speed / 1e6:,.1f} MB/s"
