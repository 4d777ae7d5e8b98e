"""The runs of a room side by side: by score with ties, by the seconds to a held-out loss, and as curves."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ..config.viewer import HOST
from ..lesson import timing
from ..lesson.room import Room
from ..store.run import Run
from .evaluations import Evaluations
from .runs import Runs
from .training import Training

SECONDS_FRESH = 3.0
"""For how long a board is shown again before it is made anew: thirty people ask for it every three seconds."""


@dataclass(frozen=True)
class BoardRun:
    """A run of the room: who shares it, how far it is, what was measured.

    ``people``: ids in the room. ``curve``: its held-out loss, (step, nats a token). ``bleu``, ``ci`` and ``group``: of
    its last evaluation on the board's rows; runs of one group cannot be distinguished from its first, 1 is best.
    ``reached``: when its held-out loss was at most the board's target, with the group of ``time_group`` likewise.
    ``evaluation``: where its evaluation is (``Evaluations.progress``) while it waits or is under way, or what it ended
    by (``error``).
    """

    run_id: str
    name: str
    people: tuple[str, ...]
    status: str
    step: int
    total_steps: int
    place: int | None
    starts_in_seconds: float | None
    seconds_left: float | None
    curve: tuple[tuple[int, float], ...]
    config: Mapping[str, Any]
    evaluation: Mapping[str, Any] | None = None
    bleu: float | None = None
    ci: tuple[float, float] | None = None
    group: int | None = None
    reached: timing.Reached | None = None
    time_group: int | None = None


@dataclass(frozen=True)
class Board:
    """All runs of a room, oldest first. ``target``: the held-out loss that they are timed to; ``rows``: how many
    held-out rows the scores are of; ``base``: its BLEU; ``others``: evaluated runs that were measured otherwise."""

    runs: tuple[BoardRun, ...]
    target: float | None
    rows: int | None = None
    base: float | None = None
    others: int = 0


_ENDED: Mapping[str, Any] = {"place": None, "starts_in_seconds": None, "eta_seconds": None}


class RoomBoards:
    """Makes the boards, and keeps each for a moment."""

    def __init__(self, runs: Runs, training: Training, evaluations: Evaluations):
        self._runs, self._training, self._evaluations = runs, training, evaluations
        # A room that has ended is forgotten here too.
        self._kept: WeakKeyDictionary[Room, tuple[float, int, Board]] = WeakKeyDictionary()
        self._times: WeakKeyDictionary[Room, dict[tuple[str, int, int], timing.Reached]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def board(self, room: Room) -> Board:
        """The room's board, at most ``SECONDS_FRESH`` old, with every run that was started. A private run is left out
        unless it is shared."""
        with self._lock:
            kept, entries = self._kept.get(room), sum(len(person.runs) for person in room.people.values())
            if kept and time.monotonic() - kept[0] < SECONDS_FRESH and kept[1] == entries:
                return kept[2]
            board = self._board(room)
            self._kept[room] = (time.monotonic(), entries, board)
            return board

    def _board(self, room: Room) -> Board:
        with self._runs.read_cache():
            people = room.runs
            visible = [run_id for run_id in people if self._runs.is_visible(HOST, run_id)]
            runs = [run for run in (self._runs.get(HOST, run_id) for run_id in visible) if run.owner is None]
            curves = {run.id: timing.curve(self._runs.metrics(HOST, run.id, kind="probe")) for run in runs}
            ended = [curves[run.id] for run in runs if run.status == "finished"]
            target = room.rules.target if room.rules.target is not None else timing.reached_by_all(ended)
            table, groups, others = self._scores([run.id for run in runs])
        scores = {row["run_id"]: row for row in table["runs"]} if table else {}
        times = {} if target is None else self._reached(room, curves, target)
        by_time = timing.tied(times)
        rows = [
            dataclasses.replace(
                self._row(run, people[run.id], curves[run.id], scores.get(run.id), groups.get(run.id)),
                reached=times.get(run.id),
                time_group=by_time.get(run.id),
            )
            for run in runs
        ]
        return Board(
            tuple(rows),
            target,
            table["rows"] if table else None,
            table["base"]["bleu"] if table else None,
            others,
        )

    def _reached(self, room: Room, curves: Mapping[str, timing.Curve], target: float) -> dict[str, timing.Reached]:
        """When each run reached the target, of those that did. A run's steps are read once: they may be thousands."""
        kept = self._times.setdefault(room, {})
        reached = {}
        for run_id, points in curves.items():
            if steps := timing.steps_to(points, target):
                key = (run_id, *steps)
                if key not in kept:
                    kept[key] = timing.reached(self._runs.metrics(HOST, run_id, kind="train"), *steps)
                reached[run_id] = kept[key]
        return reached

    def _row(
        self,
        run: Run,
        people: Sequence[str],
        curve: Sequence[tuple[int, float]],
        score: Mapping[str, Any] | None,
        group: int | None,
    ) -> BoardRun:
        status = self._training.status(HOST, run.id) if run.live else _ENDED
        return BoardRun(
            run.id,
            run.name,
            tuple(people),
            run.status,
            run.step,
            run.total_steps,
            status["place"],
            status["starts_in_seconds"],
            status["eta_seconds"],
            tuple(curve),
            run.config,
            self._evaluations.progress(HOST, run.id),
            score["bleu"] if score else None,
            tuple(score["ci"]) if score and score["ci"] else None,
            group,
        )

    def _scores(self, run_ids: Sequence[str]) -> tuple[Mapping[str, Any] | None, dict[str, int], int]:
        """The table with most runs, the group of each of them, and how many runs are in other tables alone.

        A group is the best run that is left and all that a paired test does not tell from it.
        """
        evaluated = [run_id for run_id in run_ids if self._runs.evaluations(HOST, run_id)]
        if not evaluated:
            return None, {}, 0
        return self._evaluations.tied_groups(HOST, evaluated)
