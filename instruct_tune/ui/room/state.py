"""What the room's pages show, as JSON: one part for everybody, and what is one's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from ...config.run_config import RunConfig
from ...config.viewer import Viewer
from ...errors import LabError
from ...experiments.arms import ARMS
from ...experiments.questions import EXPERIMENTS, MEASURES
from ...experiments.recorded import recorded
from ...experiments.sentences import VERBS, because, effect_sentence, in_sentence
from ...lesson.links import Link, write_link
from ...lesson.locks import settings_of
from ...lesson.room import BLIND, GUESS, SWEEP, Activity, Room
from ...lesson.rules import Rules, card_config, config_key, teachers_config
from ...lesson.votes import share
from ...runs.machine_paths import short_paths
from ...script.outgoing import outgoing
from ...services.room_activities import RoomActivities
from ...services.room_boards import Board, BoardRun, RoomBoards
from ...services.rooms import Rooms
from ..setting_labels import label_of


class RoomState:
    """Reads the rooms for their pages. ``own_start``: whether a run can be started there, not in the lab alone."""

    def __init__(self, rooms: Rooms, activities: RoomActivities, boards: RoomBoards, own_start: bool):
        self._rooms, self._activities, self._boards, self._own_start = rooms, activities, boards, own_start
        # A room that has ended is forgotten here too.
        self._kept: WeakKeyDictionary[Room, tuple[int, Board, bytes]] = WeakKeyDictionary()
        self._changes: WeakKeyDictionary[Room, tuple[Rules, dict[str, dict[str, str]]]] = WeakKeyDictionary()

    def of(self, viewer: Viewer, code: Any) -> bytes:
        """JSON. ``room``: what everybody in it sees; ``you``: one's own, None for who neither joined nor hosts it.

        Who is outside learns the room's title and nothing else.
        """
        room = self._rooms.get(code)
        host, person = self._rooms.is_host(viewer, room), self._rooms.person(viewer, room)
        if not host and person is None:
            return as_json({"room": {"code": room.code, "title": room.title, "ends": room.ends}, "you": None})
        activity = room.activity
        you: dict[str, Any] = {"host": host, "can_start": self._own_start}
        if person:
            you |= {"id": person.id, "name": person.name, "runs": list(person.runs), "handed_in": person.handed_in}
            if activity:
                you |= {"choice": activity.answers.get(person.id), "card": activity.cards.get(person.id)}
        if host:
            you["prepared"] = [_prepared(room.activities[each]) for each in room.order]
            you["counts"] = activity.counts if activity else {}
            you["names"] = {each.id: each.name for each in room.present}
        try:
            return b'{"room": %b, "you": %b}' % (self._for_everybody(room), as_json(you))
        except LabError as error:
            # The page takes a LabError for the end of the room; this one ends nothing.
            raise RuntimeError(f"the state of room {room.code} cannot be made") from error

    def handed_in(self, viewer: Viewer, code: Any) -> list[list[str]]:
        """The host's list of what was handed in, a row a person, with a row of titles first."""
        room = self._rooms.hosted(viewer, code)
        runs = {run.run_id: run for run in self._boards.board(room).runs}
        rows = [["name", "handed_in", "run", "run_name", "status", "steps", "held_out_loss", "bleu", "settings"]]
        for person in room.present:
            run = runs.get(person.handed_in or (person.runs[-1] if person.runs else ""))
            handed = "yes" if person.handed_in else "no"
            if run is None:
                rows.append([person.name, handed, *[""] * 7])
                continue
            loss, bleu = (run.curve[-1][1] if run.curve else None), run.bleu
            numbers = ["" if loss is None else f"{loss:.4f}", "" if bleu is None else f"{bleu:.2f}"]
            settings = "; ".join(f"{name}={value}" for name, value in self._changed(room, run).items())
            rows.append([person.name, handed, run.run_id, run.name, run.status, str(run.step), *numbers, settings])
        return rows

    def _for_everybody(self, room: Room) -> bytes:
        """JSON that is made once for all who ask until something changes."""
        board = self._boards.board(room)
        kept = self._kept.get(room)
        if kept and kept[0] == room.version and kept[1] is board:
            return kept[2]
        version, rules, activity = room.version, room.rules, room.activity
        shown = {
            "code": room.code,
            "title": room.title,
            "ends": room.ends,
            "people": [{"id": each.id, "name": room.shown_name(each)} for each in room.present],
            "rules": dataclasses.asdict(rules),
            "lab": lab_query(room),
            "activity": self._activity(room, activity, board) if activity else None,
            "more": room.next_prepared() is not None,
            "board": {
                **{name: getattr(board, name) for name in ("target", "rows", "base", "others")},
                "runs": [_run(run, self._changed(room, run)) for run in board.runs],
            },
        }
        self._kept[room] = (version, board, as_json(shown))
        return self._kept[room][2]

    def _changed(self, room: Room, run: BoardRun) -> dict[str, str]:
        """In which settings a run differs from what the room begins with: by dotted name, as text. Everybody reads it:
        it has no prompt that a person typed, and no folder of this machine."""
        rules, kept = self._changes.get(room, (None, {}))
        if rules is not room.rules:
            kept = {}
            self._changes[room] = (room.rules, kept)
        if run.run_id not in kept:
            config = RunConfig.from_dict(run.config)
            own, teachers = settings_of(config), settings_of(teachers_config(room.rules))
            to_share = settings_of(outgoing(config))
            kept[run.run_id] = {
                name: short_paths(_text(to_share[name]))
                for name, value in own.items()
                if value != teachers[name] and name != "train.own_prompts"
            }
        return kept[run.run_id]

    def _activity(self, room: Room, activity: Activity, board: Board) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": activity.id,
            "kind": activity.kind,
            "revealed": activity.revealed,
            "answered": len(activity.answers),
        }
        if activity.revealed:
            shown["counts"] = activity.counts
        if activity.kind == GUESS:
            return shown | _guess(activity)
        if activity.kind == BLIND:
            return shown | _blind(activity)
        return shown | (self._sweep(room, activity, board) if activity.kind == SWEEP else dict(activity.content))

    def _sweep(self, room: Room, activity: Activity, board: Board) -> dict[str, Any]:
        """The cards, who has each, and which run trains which: its settings but for the seed."""
        cards = activity.content["cards"]
        keys = [config_key(_with_seed(card_config(room.rules, card).to_dict())) for card in cards]
        runs = {run.run_id: config_key(_with_seed(run.config)) for run in board.runs}
        return {
            "title": activity.content["title"],
            "cards": [
                {
                    "label": card["label"],
                    "people": list(dict.fromkeys(person for person, dealt in activity.deals if dealt == number)),
                    "runs": [run_id for run_id, key in runs.items() if key == keys[number]],
                }
                for number, card in enumerate(cards)
            ],
        }


def as_json(value: Any) -> bytes:
    """JSON in UTF-8; lone surrogates, which a script may post, become question marks."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def lab_query(room: Room) -> str:
    """The query of the address that opens the lab with the room's settings and locks."""
    rules = room.rules
    return write_link(Link(rules.preset, rules.settings, rules.locks, tab="Train", room=room.code))


def experiments() -> list[dict[str, str]]:
    """The measured experiments that a room can guess: ``key, title``."""
    results = recorded()
    return [{"key": key, "title": each.title} for key, each in EXPERIMENTS.items() if results.has(each)]


def _guess(activity: Activity) -> dict[str, Any]:
    experiment = EXPERIMENTS[activity.content["experiment"]]
    measure = MEASURES[experiment.measure]
    shown: dict[str, Any] = {
        "title": experiment.title,
        "question": experiment.question,
        "changed": experiment.changed,
        "ask": f"Your guess: against {ARMS[experiment.against].label}, {in_sentence(measure)} …",
        "choices": [{"value": direction.value, "label": label} for direction, label in VERBS.items()],
    }
    if activity.revealed:
        effect = recorded().effect(experiment)
        shown |= {
            "right": effect.direction.value,
            "effect": effect_sentence(experiment, effect),
            "because": because(experiment, effect.direction),
            "try": experiment.try_it,
        }
    return shown


def _blind(activity: Activity) -> dict[str, Any]:
    content = activity.content
    tuned = content["tuned"]
    texts = {tuned: content["tuned_text"], "AB".replace(tuned, ""): content["base_text"]}
    shown: dict[str, Any] = {
        "instruction": content["instruction"],
        "input": content["input"],
        "texts": {side: texts[side] for side in "AB"},
        "choices": [{"value": side, "label": f"{side} is tuned"} for side in "AB"],
    }
    if activity.revealed:
        shown |= {
            "right": tuned,
            "run": content["run"],
            "effect": share(activity.counts[tuned], len(activity.answers)).sentence,
        }
    return shown


def _prepared(activity: Activity) -> dict[str, Any]:
    content = activity.content
    titles = {
        GUESS: lambda: EXPERIMENTS[content["experiment"]].title,
        BLIND: lambda: content["instruction"][:80],
        SWEEP: lambda: content["title"],
    }
    title = titles.get(activity.kind, lambda: f"by {content['by']}")()
    return {
        "id": activity.id,
        "kind": activity.kind,
        "title": title,
        "begun": activity.begun,
        "revealed": activity.revealed,
        "answered": len(activity.answers),
    }


def _run(run: BoardRun, changes: Mapping[str, str]) -> dict[str, Any]:
    """The run for the page: its settings by the labels of the lab's form, without the seed."""
    values = dataclasses.asdict(run)
    del values["config"]
    settings = {label_of(name): value for name, value in changes.items() if name != "train.seed"}
    return {**values, "evaluation": _evaluation(run), "settings": settings}


def _evaluation(run: BoardRun) -> dict[str, Any] | None:
    """Where the run's evaluation is; None where none was requested, or it has finished."""
    news = run.evaluation or {}
    if "error" in news:
        return {"error": short_paths(str(news["error"]))}
    shown = ("place", "starts_in_seconds", "done", "total", "message")
    return {name: news[name] for name in shown if name in news} or None


def _with_seed(config: Mapping[str, Any]) -> RunConfig:
    return RunConfig.from_dict({**config, "train": {**config["train"], "seed": 42}})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
