"""How far an evaluation has come, how fast it is, and how long it will take at most."""

from __future__ import annotations

import time
from typing import Any

SECONDS_BETWEEN_NEWS = 0.5


class Meter:
    """Counts answers, and the tokens of the batch at work, so that there is progress inside a batch too.

    ``longest`` is the most tokens an answer may have: most batches end earlier, so the time left is
    an upper bound. ``batch``: how many answers are decoded together, about.
    """

    def __init__(self, total: int, longest: int, batch: int):
        self.total, self.longest, self.batch = total, max(1, longest), batch
        self.done = self.known = 0
        self._token = 0
        self._reached = 0.0
        self._began = self._told = time.monotonic()

    def resume(self, known: int) -> None:
        """``known`` answers were there before the clock started."""
        self.done = self.known = known
        self._reached = known / self.total

    def batch_done(self, done: int) -> None:
        """``done`` answers are complete."""
        self.done, self._token = done, 0

    def token(self) -> bool:
        """One more token of the batch at work; whether it is time to tell."""
        self._token += 1
        return time.monotonic() - self._told >= SECONDS_BETWEEN_NEWS

    def told(self) -> dict[str, Any]:
        """``done, total, fraction, seconds, answers_per_second, seconds_left`` (the last two None at first)."""
        self._told = time.monotonic()
        seconds = self._told - self._began
        at_work = min(self.batch, self.total - self.done) * min(1.0, self._token / self.longest)
        # Never back: how many answers a batch holds is not known exactly.
        self._reached = max(self._reached, (self.done + at_work) / self.total)
        # Known ones took no time, so they say nothing about the speed.
        new, reached = self.done - self.known, self._reached - self.known / self.total
        return {
            "done": self.done,
            "total": self.total,
            "fraction": self._reached,
            "seconds": seconds,
            "answers_per_second": new / seconds if new and seconds else None,
            "seconds_left": seconds * (1 - self._reached) / reached if reached > 0.02 else None,
        }
