"""How often a page asks what is new: each second, and more seldom where many watch somebody else's run.

What pages ask costs the run at work; so all that only watch it together ask a few times a second,
however many they are. Whoever the lab works for is told every second.
"""

from __future__ import annotations

import threading
import time

USUAL = 1.0
"""Seconds between two polls of one page."""
POLLS_PER_SECOND = 2.5
"""What all watchers together may ask: with twenty, a run on two cores is some 2% slower (``benchmarks viewers``)."""
STEPS = (USUAL, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)
"""A few intervals instead of any, so that a page's timer is not set anew for each one that comes or goes."""
GONE_AFTER = 2.5 * STEPS[-1]
"""Seconds without a poll after which a page is taken for closed, or for hidden: browsers stop its timer."""


class Pace:
    """Which pages watch, and so how often each should ask."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def seconds(self, session: str, watching: bool, now: float | None = None) -> float:
        """The interval for the page of ``session`` from now on.

        ``watching``: the lab works for somebody else. ``now``: seconds of a clock that only goes forward.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            if not watching:
                self._last.pop(session, None)
                return USUAL
            self._last[session] = now
            self._last = {page: last for page, last in self._last.items() if now - last < GONE_AFTER}
            wanted = len(self._last) / POLLS_PER_SECOND
        return next((step for step in STEPS if step >= wanted), STEPS[-1])
