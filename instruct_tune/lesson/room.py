"""A room's state, built from its events: whatever happened before a crash is read again, and nothing else is kept.

Every change is one event, a JSON object with ``kind`` and ``at`` (seconds since 1970). ``Room.add`` applies it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import DataError
from .rules import Rules, as_rules

MAX_PEOPLE = 100
LONGEST_NAME, LONGEST_TITLE = 30, 80
MAX_ACTIVITIES, MAX_RUNS = 60, 500
MAX_CHANGES = 500
"""The most changes that one person makes in a room; a script that makes more is refused, not the others."""
MAX_MINUTES = 24 * 60
GUESS, BLIND, SWEEP, BOARD = "guess", "blind", "sweep", "board"


@dataclass
class Person:
    """Somebody in the room. ``id`` is theirs in this room alone; ``viewer`` (secret) is by whom they are known.

    ``joined``: when they came, in seconds since the epoch. ``runs``: their runs, oldest first. ``handed_in``: the run
    that they handed in. ``changes``: how many they made.
    """

    id: str
    viewer: str
    name: str
    joined: float = 0.0
    removed: bool = False
    runs: list[str] = field(default_factory=list)
    handed_in: str | None = None
    changes: int = 0


@dataclass
class Activity:
    """Something that the room does together.

    Args:
        id: Its own within the room.
        kind: GUESS, BLIND, SWEEP or BOARD.
        content: What it is about, which the kind decides.
        choices: What a person may choose; empty where nothing is chosen.
        answers: The choice of each person, by their id: the last one before ``revealed``.
        deals: The sweep's cards as they were dealt: (a person's id, the card).
    """

    id: str
    kind: str
    content: Mapping[str, Any]
    choices: tuple[str, ...] = ()
    begun: bool = False
    revealed: bool = False
    answers: dict[str, str] = field(default_factory=dict)
    deals: tuple[tuple[str, int], ...] = ()

    @property
    def cards(self) -> dict[str, int]:
        """The card that each person has, by their id: the last one dealt to them."""
        return dict(self.deals)

    @property
    def counts(self) -> dict[str, int]:
        """How many people chose each choice."""
        chosen = list(self.answers.values())
        return {choice: chosen.count(choice) for choice in self.choices}


class Room:
    """One room. Only ``add`` changes it; it replaces dictionaries and lists and changes none in place, so that other
    threads may walk through them meanwhile.

    Args:
        code: What people type to join.
    """

    def __init__(self, code: str):
        self.code = code
        self.title, self.host = "", ""
        self.opened = self.ends = 0.0
        self.rules = Rules()
        self.people: dict[str, Person] = {}
        """By the id of their viewer."""
        self.activities: dict[str, Activity] = {}
        self.order: list[str] = []
        """The activities in the order in which the host wants them."""
        self.current: str | None = None
        self.configs: dict[str, str] = {}
        """The room's runs, oldest first, and a key of each one's configuration."""
        self.version = 0
        """Grows with every event."""

    def add(self, event: Mapping[str, Any]) -> None:
        """Apply an event that ``services.rooms`` has checked; an unknown kind is one of a later release."""
        apply = getattr(self, f"_{event['kind']}", None)
        if apply:
            apply(event)
        if person := self.people.get(event.get("viewer", "")):
            person.changes += 1
        self.version += 1

    # Reading

    def person(self, viewer: str) -> Person:
        """The person whom that viewer is in the room. Raises DataError where they did not join, or were removed."""
        person = self.people.get(viewer)
        if person is None:
            raise DataError("You are not in this room: join it with its code.")
        if person.removed:
            raise DataError("The host has removed you from this room.")
        return person

    @property
    def present(self) -> list[Person]:
        """Everybody who is in the room, in the order in which they came."""
        return [person for person in self.people.values() if not person.removed]

    @property
    def activity(self) -> Activity | None:
        """What the room does now."""
        return self.activities.get(self.current or "")

    @property
    def runs(self) -> dict[str, list[str]]:
        """The room's runs, and the ids of those who share each."""
        runs: dict[str, list[str]] = {}
        for person in self.present:
            for run_id in person.runs:
                runs.setdefault(run_id, []).append(person.id)
        return runs

    def shown_name(self, person: Person) -> str:
        """The person's name, or their number where the host hides names."""
        return f"Student {person.id[1:]}" if self.rules.names_hidden else person.name

    def next_prepared(self) -> str | None:
        """The first activity that has not begun yet."""
        return next((each for each in self.order if not self.activities[each].begun), None)

    # Events

    def _opened(self, event: Mapping[str, Any]) -> None:
        self.title, self.host = event["title"], event["host"]
        self.opened, self.ends = event["at"], event["ends"]

    def _extended(self, event: Mapping[str, Any]) -> None:
        self.ends = event["ends"]

    def _joined(self, event: Mapping[str, Any]) -> None:
        person = Person(f"s{len(self.people) + 1}", event["viewer"], event["name"], event["at"])
        self.people = {**self.people, person.viewer: person}

    def _renamed(self, event: Mapping[str, Any]) -> None:
        self.people[event["viewer"]].name = event["name"]

    def _removed(self, event: Mapping[str, Any]) -> None:
        person = self.people[event["viewer"]]
        person.removed = True
        for activity in self.activities.values():
            activity.answers = {who: choice for who, choice in activity.answers.items() if who != person.id}

    def _ruled(self, event: Mapping[str, Any]) -> None:
        self.rules = as_rules(event["rules"])

    def _prepared(self, event: Mapping[str, Any]) -> None:
        new = event["activity"]
        activity = Activity(new["id"], new["kind"], new["content"], tuple(new["choices"]))
        self.activities = {**self.activities, activity.id: activity}
        self.order = [*self.order, activity.id]

    def _dropped(self, event: Mapping[str, Any]) -> None:
        self.order = [each for each in self.order if each != event["activity"]]
        self.activities = {each: self.activities[each] for each in self.order}

    def _moved(self, event: Mapping[str, Any]) -> None:
        at = self.order.index(event["activity"])
        order = [*self.order[:at], *self.order[at + 1 :]]
        order.insert(max(0, at - 1), event["activity"])
        self.order = order

    def _began(self, event: Mapping[str, Any]) -> None:
        self.activities[event["activity"]].begun = True
        self.current = event["activity"]

    def _chose(self, event: Mapping[str, Any]) -> None:
        activity = self.activities[event["activity"]]
        activity.answers = {**activity.answers, self.people[event["viewer"]].id: event["choice"]}

    def _revealed(self, event: Mapping[str, Any]) -> None:
        self.activities[event["activity"]].revealed = True

    def _dealt(self, event: Mapping[str, Any]) -> None:
        activity = self.activities[event["activity"]]
        activity.deals = (*activity.deals, (self.people[event["viewer"]].id, event["card"]))

    def _ran(self, event: Mapping[str, Any]) -> None:
        person = self.people[event["viewer"]]
        if event["run"] not in person.runs:
            person.runs = [*person.runs, event["run"]]
        if event["run"] not in self.configs:
            self.configs = {**self.configs, event["run"]: event["config"]}

    def _handed(self, event: Mapping[str, Any]) -> None:
        self.people[event["viewer"]].handed_in = event["run"]


def read_name(value: Any, longest: int = LONGEST_NAME) -> str:
    """A name that somebody chose, on one line, without control and direction characters, cut to ``longest``.

    Raises DataError where nothing is left of it, or it is no text.
    """
    if not isinstance(value, str):
        raise DataError("A name is a text.")
    # Beyond this nobody typed it; the rest is not even looked at.
    kept = ""
    for char in unicodedata.normalize("NFC", value[: 20 * longest]):
        if char.isspace():
            kept += " "
        elif _is_shown(char) and not (_is_mark(char) and all(map(_is_mark, kept[-2:]))):
            kept += char
    name = " ".join(kept.split())[:longest].strip()
    if not name:
        raise DataError("Type a name: letters or digits, what the others in the room will see.")
    return name


def _is_mark(char: str) -> bool:
    """Whether a character is drawn over the one before it; piles of them cover the lines around."""
    return unicodedata.category(char)[0] == "M"


def _is_shown(char: str) -> bool:
    """Whether a character draws something and turns no other: controls, formats (bidi) and surrogates do not.

    The joiners of emoji are formats and fall out.
    """
    return unicodedata.category(char)[0] not in "CZ"
