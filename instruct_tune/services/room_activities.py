"""What a room does together: its host prepares guesses, blind comparisons, sweeps and boards."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ..config.run_config import RunConfig
from ..config.viewer import Viewer
from ..errors import DataError, NotFoundError, SettingsError
from ..experiments.paired import Direction
from ..experiments.questions import EXPERIMENTS
from ..experiments.recorded import recorded, shown
from ..lesson.room import BLIND, BOARD, GUESS, SWEEP, read_name
from ..lesson.rules import card_config, forbidden, teachers_config
from .configurations import check_texts
from .evaluations import Evaluations
from .inference import Inference
from .rooms import Rooms
from .runs import Runs
from .training import Training

MAX_CARDS, MAX_SEEDS = 6, 10
FIRST_SEED = 42
LONGEST_LABEL = 60
LONGEST_TEXT = 4000
"""Characters of a question or an answer that is shown to a room."""
BY_SCORE, BY_TIME = "score", "time"


class RoomActivities:
    """Prepares activities for the rooms of ``rooms``."""

    def __init__(self, rooms: Rooms, runs: Runs, training: Training, evaluations: Evaluations, inference: Inference):
        self._rooms, self._runs, self._training = rooms, runs, training
        self._evaluations, self._inference = evaluations, inference

    def guess(self, viewer: Viewer, code: Any, experiment: Any) -> str:
        """A guess of a measured experiment, by its key. Returns the activity's id."""
        if experiment not in [key for key, each in EXPERIMENTS.items() if each in shown(recorded())]:
            raise DataError("There is no such measured experiment: choose one of the list.")
        choices = [direction.value for direction in Direction]
        return self._rooms.prepare(viewer, code, GUESS, {"experiment": experiment}, choices)

    def blind(self, viewer: Viewer, code: Any, run_id: Any, instruction: Any = "") -> str:
        """Two answers to one question, of which one is by the tuned model. Returns the activity's id.

        Without an instruction the question is the next held-out row of the run's last evaluation whose two answers
        differ; with one, base and the run answer it now, which takes seconds.
        """
        room = self._rooms.hosted(viewer, code)
        run = self._runs.get(viewer, run_id)
        if isinstance(instruction, str) and not instruction.strip():
            used = [each.content["row"] for each in room.activities.values() if each.content.get("run") == run_id]
            question = self._recorded_question(viewer, run.id, {row for row in used if row is not None})
        else:
            check_texts(instruction=instruction)
            question = self._answered_question(viewer, run.id, instruction)
        texts = {name: question[name][:LONGEST_TEXT] for name in ("instruction", "input", "base", "tuned")}
        content = {
            "run": run.id,
            "row": question["row"],
            "instruction": texts["instruction"],
            "input": texts["input"],
            "base_text": texts["base"],
            "tuned_text": texts["tuned"],
            "tuned": secrets.choice("AB"),
        }
        return self._rooms.prepare(viewer, code, BLIND, content, ["A", "B"])

    def sweep(self, viewer: Viewer, code: Any, title: Any, cards: Any, seeds: Any = 2) -> str:
        """Up to six configurations that are dealt to the room. Returns the activity's id.

        ``cards``: a list of ``{label, settings}``; the settings, by dotted name, go over the room's own. ``seeds``: how
        often each card is trained at most; more people share a run.
        """
        room = self._rooms.hosted(viewer, code)
        if not isinstance(cards, list) or not 2 <= len(cards) <= MAX_CARDS:
            raise DataError(f"A sweep has 2 to {MAX_CARDS} configurations.")
        if type(seeds) is not int or not 1 <= seeds <= MAX_SEEDS:
            raise DataError(f"A card is trained with 1 to {MAX_SEEDS} seeds.")
        read = [_card(card) for card in cards]
        for card in read:
            if problems := forbidden(room.rules, card_config(room.rules, card)):
                raise SettingsError([f"{card['label']}: {problem}" for problem in problems])
        content = {"title": read_name(title, LONGEST_LABEL), "cards": read, "seeds": seeds}
        return self._rooms.prepare(viewer, code, SWEEP, content, [])

    def board(self, viewer: Viewer, code: Any, by: Any) -> str:
        """The board of the room's runs, by score or by seconds to a held-out loss. Returns the activity's id."""
        if by not in (BY_SCORE, BY_TIME):
            raise DataError("A board is by score or by time.")
        return self._rooms.prepare(viewer, code, BOARD, {"by": by}, [])

    def start(self, viewer: Viewer, code: Any, activity_id: Any = None, another: bool = False) -> str:
        """Train what the sweep deals to ``viewer``, or what the room's runs begin with; returns the run's id.

        ``another``: deal them a new card.
        """
        room = self._rooms.get(code)
        if activity_id is None:
            return self._training.start(viewer, teachers_config(room.rules))
        return self._training.start(viewer, self.dealt_config(viewer, code, activity_id, another))

    def evaluate(self, viewer: Viewer, code: Any, run_id: Any) -> None:
        """Evaluate one of the room's runs as its settings say. Raises BusyError where that is under way."""
        if run_id not in list(self._rooms.get(code).runs):
            raise NotFoundError.of(run_id)
        self._evaluations.start(viewer, run_id)

    def dealt_config(self, viewer: Viewer, code: Any, activity_id: Any, another: bool = False) -> RunConfig:
        """The configuration that the sweep deals to ``viewer``.

        Those who have the same card train it with as many seeds as the sweep has, from 42 on, so that settings can be
        distinguished from chance; then the first seed is dealt again.
        """
        card = self._rooms.deal(viewer, code, activity_id, another)
        room = self._rooms.get(code)
        person = self._rooms.person(viewer, room)
        activity = room.activities[activity_id]
        # Which deal of this card theirs is.
        alike = [who for who, dealt in activity.deals if dealt == card]
        place = len(alike) - 1 - alike[::-1].index(person.id) if person else 0
        seed = FIRST_SEED + place % activity.content["seeds"]
        return card_config(room.rules, activity.content["cards"][card], seed)

    def _recorded_question(self, viewer: Viewer, run_id: str, used: set[int]) -> dict[str, Any]:
        rows = self._evaluations.predictions(viewer, run_id)
        if not rows:
            raise DataError("This run was not evaluated, so there are no answers: evaluate it, or type a question.")
        for number, row in enumerate(rows):
            if number not in used and row["base"].strip() != row["tuned"].strip():
                return {"row": number} | {name: row[name] for name in ("instruction", "input", "base", "tuned")}
        raise DataError("Every row of this run's evaluation whose answers differ was shown: type a question.")

    def _answered_question(self, viewer: Viewer, run_id: str, instruction: str) -> dict[str, Any]:
        last: dict[str, Any] = {}
        for state in self._inference.compare(viewer, run_id, instruction):
            last = state
        if last.get("base", "").strip() == last.get("tuned", "").strip():
            raise DataError("Base and tuned answer this in the same words: ask something else.")
        return {"row": None, "instruction": instruction, "input": "", "base": last["base"], "tuned": last["tuned"]}


def _card(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("settings"), Mapping):
        raise DataError("A configuration of a sweep has a label and settings.")
    return {"label": read_name(raw.get("label"), LONGEST_LABEL), "settings": dict(raw["settings"])}
