"""Progress of an evaluation: share done, speed, and an upper bound of the time left."""

from __future__ import annotations

import time
from typing import Any

SECONDS_BETWEEN_NEWS = 0.5


class Meter:
    """Counts answers, and the tokens of the current batch, so that progress advances within a batch, too.

    ``longest`` is the most tokens of an answer: most batches end earlier, so the time left is
    an upper bound. ``batch``: about how many answers are decoded together.
    """

    def __init__(self, total: int, longest: int, batch: int):
        self.total, self.longest, self.batch = total, max(1, longest), batch
        self.done = self.known = 0
        self._token = 0
        self._reached = 0.0
        self._began = self._reported_at = time.monotonic()

    def resume(self, known: int) -> None:
        """``known`` answers existed before the clock started."""
        self.done = self.known = known
        self._reached = known / self.total

    def batch_done(self, done: int) -> None:
        """``done`` answers are complete."""
        self.done, self._token = done, 0

    def token(self) -> bool:
        """Count one token of the current batch. True where a progress report is due."""
        self._token += 1
        return time.monotonic() - self._reported_at >= SECONDS_BETWEEN_NEWS

    def progress(self) -> dict[str, Any]:
        """``done, total, fraction, seconds, answers_per_second, seconds_left`` (the last two None at first)."""
        self._reported_at = time.monotonic()
        seconds = self._reported_at - self._began
        at_work = min(self.batch, self.total - self.done) * min(1.0, self._token / self.longest)
        # Never decreases, although the number of answers in a batch is only approximate.
        self._reached = max(self._reached, (self.done + at_work) / self.total)
        # Known answers took no time, so they do not count for the speed.
        new, reached = self.done - self.known, self._reached - self.known / self.total
        return {
            "done": self.done,
            "total": self.total,
            "fraction": self._reached,
            "seconds": seconds,
            "answers_per_second": new / seconds if new and seconds else None,
            "seconds_left": seconds * (1 - self._reached) / reached if reached > 0.02 else None,
        }
