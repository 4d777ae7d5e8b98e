"""How much of a run's counted work is done: the time left while it trains, and its pace for later estimates."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from ..config.run_config import RunConfig
from .resources import Effort, Speed, efforts
from .workload import Workload

TYPICAL = Speed(a_token=1.0, forward=0.4, new_token=5.0, token_bytes=0, supervised_bytes=0)
"""What the kinds of work cost in proportion, for kinds that the run has not done yet."""
RECENT = 10
"""How many of the last durations of a kind of work are averaged."""
FEWEST_STEPS = 3
"""Steps after the first that make a pace for later estimates."""


class RunProgress:
    """Counts a run's events, each the end of some work, and times them. Of the thread that trains.

    The kinds are those of the metrics; ``samples`` are the answers at a probe, ``bleu`` those at an evaluation and
    once base's, ``memorized`` those of the memorization check. ``before``: how often each kind was done before this
    session, as after a resume.
    """

    def __init__(
        self,
        config: RunConfig,
        work: Workload,
        before: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._clock, self._last = clock, clock()
        self._units, self._planned = _events(config, work)
        self._seen: defaultdict[str, int] = defaultdict(int, before)
        self._durations: defaultdict[str, list[float]] = defaultdict(list)
        self.done, self.seconds = Effort(), 0.0
        """The work of this session and the seconds that it took, but for the first event of each kind.

        The first includes one-time work.
        """
        self._begun, self._begun_seconds = Effort(), 0.0
        """The same of the first events: all that is known at the start."""

    @property
    def planned(self) -> Effort:
        """The work of the whole run."""
        return sum((self._units[kind].times(times) for kind, times in self._planned.items()), start=Effort())

    def note(self, kind: str) -> None:
        """Work of that kind has ended; it took the time since the last event."""
        now = self._clock()
        seconds, self._last = now - self._last, now
        self._seen[kind] += 1
        effort = self._units.get(kind, Effort())
        if self._durations[kind]:
            self.done, self.seconds = self.done + effort, self.seconds + seconds
        else:
            self._begun, self._begun_seconds = self._begun + effort, self._begun_seconds + seconds
        self._durations[kind].append(seconds)

    def pass_over(self, kind: str) -> None:
        """Work of that kind has ended whose time tells nothing, as of answers out of a cache."""
        self._seen[kind] += 1
        self._last = self._clock()

    def skip(self, seconds: float) -> None:
        """So many seconds went to something else, as a queued job."""
        self._last += seconds

    def seconds_left(self) -> float | None:
        """Each kind of work that is left at the pace of its last ones; None before the first step of the session.

        A kind that was not done yet takes its part of the counted work, at the pace of all so far.
        """
        if not self._durations["train"]:
            return None
        steady = self.done.trained > 0
        seconds, effort = (self.seconds, self.done) if steady else (self._begun_seconds, self._begun)
        pace = seconds / max(effort.seconds(TYPICAL), 1e-9)
        return sum(
            max(0, planned - self._seen[kind]) * self._duration(kind, pace) for kind, planned in self._planned.items()
        )

    def _duration(self, kind: str, pace: float) -> float:
        # The first of each kind includes one-time work.
        recent = (self._durations[kind][1:] or self._durations[kind])[-RECENT:]
        return sum(recent) / len(recent) if recent else self._units[kind].seconds(TYPICAL) * pace

    @property
    def has_pace(self) -> bool:
        """Whether enough was done for later estimates."""
        return len(self._durations["train"]) > FEWEST_STEPS

    def to_dict(self) -> dict[str, Any]:
        """``done`` and ``seconds``, for the run's provenance."""
        return {
            "seconds": self.seconds,
            "trained": self.done.trained,
            "read": self.done.read,
            "decoded": self.done.decoded,
        }


def _events(config: RunConfig, work: Workload) -> tuple[dict[str, Effort], dict[str, int]]:
    """The work of one event of each kind, and how often a whole run has it."""
    parts = efforts(config, work)
    bleu = work.evaluations + 1 if work.evaluations and work.recorded.bleu_rows else 0
    kinds = {
        "train": ("training", work.steps),
        "probe": ("probes", work.probes if work.probe_tokens else 0),
        "samples": ("samples", work.samples if work.recorded.prompts else 0),
        "general": ("general", work.samples if work.recorded.general_tokens else 0),
        "eval": ("evaluations", work.evaluations),
        "bleu": ("bleu", bleu),
        "memorized": ("memorized", int(config.train.recite_rows > 0)),
    }
    units = {kind: parts[part].times(1 / times) for kind, (part, times) in kinds.items() if times}
    return units, {kind: times for kind, (_, times) in kinds.items() if times}
