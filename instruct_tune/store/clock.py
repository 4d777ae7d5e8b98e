"""The time of day as the lab believes it, where something is removed because of its age.

A clock can be wrong when the machine starts, and jump by years when somebody sets it. Within a process the time goes
on from its start by a clock that nobody sets; across processes a leap is believed only after a day of waiting.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 24 * 3600.0
"""How long nothing is removed after a start at which more time had passed than anything is kept."""


class Clock:
    """``file`` remembers when the lab was last seen at work; ``most`` seconds it may be away without a doubt."""

    def __init__(self, file: Path, most: float):
        self._file = file
        self._wall, self._steady = time.time(), time.monotonic()
        before = self._remembered()
        self._leapt = before is not None and self._wall - before > most

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._wall + time.monotonic() - self._steady

    def believed(self) -> bool:
        """Whether what looks old may be taken for old."""
        return not self._leapt or time.monotonic() - self._steady >= GRACE_SECONDS

    def remember(self) -> None:
        """Note that the lab is at work. Where that cannot be written, the next start has its doubts, and waits."""
        if self.believed():
            with suppress(OSError):
                self._file.write_text(str(self.now()), encoding="ascii")

    def _remembered(self) -> float | None:
        try:
            return float(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
