"""Wall-clock time for removal by age, guarded against clock jumps.

A clock can be wrong when the machine starts, and jump by years when it is set. Within a process, time advances from
the start by the monotonic clock. Between processes, a jump is trusted only after ``GRACE_SECONDS``.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 24 * 3600.0
"""Nothing is removed for this long after a start at which more time had passed than the longest retention."""


class Clock:
    """``file`` stores when the lab last ran. A gap of more than ``most`` seconds counts as a clock jump."""

    def __init__(self, file: Path, most: float):
        self._file = file
        self._wall, self._steady = time.time(), time.monotonic()
        before = self._read_last()
        self._jumped = before is not None and self._wall - before > most

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._wall + time.monotonic() - self._steady

    def believed(self) -> bool:
        """Whether ages computed from this clock can be trusted."""
        return not self._jumped or time.monotonic() - self._steady >= GRACE_SECONDS

    def remember(self) -> None:
        """Store the current time. If the write fails, the next start may see a jump and wait."""
        if self.believed():
            with suppress(OSError):
                self._file.write_text(str(self.now()), encoding="ascii")

    def _read_last(self) -> float | None:
        try:
            return float(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
