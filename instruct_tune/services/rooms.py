"""Rooms: who is in each, what its host allows, and what everybody chose.

A change is stored before it counts, so a lab that is killed in mid-lesson goes on where it was. A room that ends is
removed with everything that people typed.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.run_config import RunConfig
from ..config.viewer import Viewer, note_rooms
from ..errors import BusyError, DataError, NotFoundError, NotYoursError, SettingsError
from ..lesson.room import (
    LONGEST_TITLE,
    MAX_ACTIVITIES,
    MAX_CHANGES,
    MAX_MINUTES,
    MAX_PEOPLE,
    MAX_RUNS,
    SWEEP,
    Activity,
    Person,
    Room,
    read_name,
)
from ..lesson.rules import Rules, card_config, config_key, forbidden, is_number, read_rules
from ..store.clock import Clock
from ..store.rooms import RoomFiles
from .access import Access
from .job_queue import JobQueue

log = logging.getLogger(__name__)
MAX_ROOMS = 8
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
ENDED = "This room has ended, and nothing of it is kept."


class Rooms:
    """Owns the open rooms. Methods take the viewer first; a code is case-blind.

    ``writing``: whether this process may change the data folder; without it there are no rooms.
    """

    def __init__(self, data_dir: Path, access: Access, queue: JobQueue, clock: Clock, writing: bool = True):
        self._files, self._data_dir, self._access, self._queue = RoomFiles(data_dir), data_dir, access, queue
        self._clock = clock
        self._rooms: dict[str, Room] = {}
        self._ended: deque[str] = deque(maxlen=100)
        self._lock = threading.RLock()
        for code, events in self._files.read() if writing else ():
            self._restore(code, events)
        self._update_hosts()

    def close(self) -> None:
        """Forget the rooms in memory; a lab that starts on the folder has them again."""
        with self._lock:
            self._rooms.clear()
            self._update_hosts()

    # Opening and ending

    def may_open(self, viewer: Viewer, token: object = None) -> bool:
        """Whether ``viewer`` may open a room: the host, and anybody on a lab of one user that has no room yet."""
        if viewer.host or self._access.is_host_token(token):
            return True
        with self._lock:
            self.end_expired()
            return not self._access.multi_user

    def open(self, viewer: Viewer, title: Any, minutes: Any, token: object = None) -> str:
        """Open a room for so many minutes; returns its code. ``token``: the host's.

        Raises NotYoursError for who may not, BusyError where there are too many rooms.
        """
        if not self.may_open(viewer, token):
            raise NotYoursError("Only the lab's host opens a room here: enter the token of LAB_ADMIN_TOKEN.")
        if viewer.id is None:
            raise DataError("A room needs a host with a secret: reload the page.")
        name, ends = read_name(title, LONGEST_TITLE), self._clock.now() + 60 * _minutes(minutes)
        with self._lock:
            if len(self._rooms) >= MAX_ROOMS:
                raise BusyError(f"{MAX_ROOMS} rooms are open: end one first.")
            code = self._new_code()
            room = Room(code)
            self._store(room, "opened", title=name, host=viewer.ids[-1], ends=ends)
            self._rooms[code] = room
            self._update_hosts()
        return code

    def extend(self, viewer: Viewer, code: str, minutes: Any) -> None:
        """Let the room end so many minutes from now."""
        with self._lock:
            self._store(self.hosted(viewer, code), "extended", ends=self._clock.now() + 60 * _minutes(minutes))

    def end(self, viewer: Viewer, code: str) -> None:
        """End a room: all that people typed is removed; their runs stay theirs."""
        with self._lock:
            self._end(self.hosted(viewer, code))

    def end_expired(self) -> None:
        """End the rooms whose time is over."""
        with self._lock:
            for room in [each for each in self._rooms.values() if each.ends <= self._clock.now()]:
                self._end(room)

    # Who is who

    def get(self, code: Any) -> Room:
        """An open room. Raises NotFoundError where there is none, or it has ended."""
        code = code.strip().upper() if isinstance(code, str) else ""
        with self._lock:
            self.end_expired()
            if room := self._rooms.get(code):
                return room
        raise NotFoundError(ENDED if code in self._ended else "There is no room with this code: look at it again.")

    def hosted(self, viewer: Viewer, code: Any) -> Room:
        """A room that ``viewer`` hosts. Raises NotYoursError."""
        room = self.get(code)
        if not self.is_host(viewer, room):
            raise NotYoursError("Only the host of the room can do that.")
        return room

    def is_host(self, viewer: Viewer, room: Room) -> bool:
        """Whether ``viewer`` hosts the room."""
        return viewer.host or room.host in viewer.ids

    def person(self, viewer: Viewer, room: Room) -> Person | None:
        """Who ``viewer`` is in the room; None for who never joined. Raises DataError for who was removed."""
        known = next((each for each in viewer.ids if each in room.people), None)
        if known and room.people[known].removed and self.is_host(viewer, room):
            # By a lab that let hosts remove themselves: it is their room.
            return None
        return room.person(known) if known else None

    def joined(self, viewer: Viewer) -> tuple[Room, Person] | None:
        """The room that ``viewer`` joined last, and who they are there."""
        with self._lock:
            self.end_expired()
            found = [
                (room, person)
                for room in self._rooms.values()
                for known in viewer.ids
                if (person := room.people.get(known)) and not person.removed
            ]
        return max(found, key=lambda each: each[1].joined, default=None)

    def hosted_by(self, viewer: Viewer) -> Room | None:
        """The room that ``viewer`` opened last."""
        with self._lock:
            self.end_expired()
            return next((room for room in reversed(self._rooms.values()) if room.host in viewer.ids), None)

    def join(self, viewer: Viewer, code: Any, name: Any) -> Person:
        """Come into a room under a name; who is in it already keeps the name that they have."""
        shown = read_name(name)
        with self._lock:
            room = self.get(code)
            if person := self.person(viewer, room):
                return person
            if viewer.id is None:
                raise DataError("Your browser sent no secret: allow this page to store data, and reload it.")
            if len(room.people) >= MAX_PEOPLE:
                raise BusyError(f"This room is full: {MAX_PEOPLE} people have joined it.")
            self._store(room, "joined", viewer=viewer.ids[-1], name=_free_name(room, shown))
            return room.person(viewer.ids[-1])

    def rename(self, viewer: Viewer, code: Any, name: Any, person_id: Any = None) -> None:
        """Change one's own name, or as the host the name of ``person_id``."""
        shown = read_name(name)
        with self._lock:
            room = self.get(code)
            person = _named(self.hosted(viewer, code), person_id) if person_id else self._member(viewer, room)
            self._store(room, "renamed", viewer=person.viewer, name=_free_name(room, shown, but=person))

    def remove(self, viewer: Viewer, code: Any, person_id: Any) -> None:
        """Remove somebody from the room, with what they chose; their browser cannot join it again."""
        with self._lock:
            room = self.hosted(viewer, code)
            person = _named(room, person_id)
            if person.viewer == room.host:
                raise DataError("This is the room's host: end the room instead.")
            self._store(room, "removed", viewer=person.viewer)

    # Rules

    def rule(self, viewer: Viewer, code: Any, changes: Mapping[str, Any]) -> None:
        """Change some of the room's rules.

        Raises SettingsError that names every problem, and where a sweep's card does not go with them.
        """
        with self._lock:
            room = self.hosted(viewer, code)
            rules = read_rules({**dataclasses.asdict(room.rules), **changes})
            for activity in room.activities.values():
                # One that is over is shown no more, and can no longer be dropped.
                if activity is room.activity or not activity.begun:
                    _check_cards(rules, activity)
            self._store(room, "ruled", rules=dataclasses.asdict(rules))
            self._update_hosts()

    def require(self, viewer: Viewer, config: RunConfig) -> None:
        """Raise SettingsError where the room of ``viewer`` does not allow a run with these settings."""
        found = self.joined(viewer)
        if found and not self.is_host(viewer, found[0]) and (problems := forbidden(found[0].rules, config)):
            raise SettingsError(problems)

    def same_run(self, viewer: Viewer, config: RunConfig) -> list[str]:
        """The runs of the room of ``viewer`` with exactly these settings, newest first."""
        found, key = self.joined(viewer), config_key(config)
        return [run_id for run_id, each in reversed(found[0].configs.items()) if each == key] if found else []

    def ran(self, viewer: Viewer, run_id: str, config: RunConfig) -> None:
        """Note that ``viewer`` has started this run, or takes part in it."""
        with self._lock:
            found = self.joined(viewer)
            if found and len(found[0].configs) < MAX_RUNS:
                self._store(found[0], "ran", viewer=found[1].viewer, run=run_id, config=config_key(config))

    def hand_in(self, viewer: Viewer, code: Any, run_id: Any) -> None:
        """Hand in one of one's own runs; the last one counts."""
        with self._lock:
            room = self.get(code)
            person = self._member(viewer, room)
            if run_id not in person.runs:
                raise DataError("Hand in a run that you started in this room.")
            self._store(room, "handed", viewer=person.viewer, run=run_id)

    # Activities

    def prepare(self, viewer: Viewer, code: Any, kind: str, content: Mapping[str, Any], choices: Sequence[str]) -> str:
        """Add an activity after the others; returns its id."""
        with self._lock:
            room = self.hosted(viewer, code)
            if len(room.activities) >= MAX_ACTIVITIES:
                raise BusyError(f"A room has at most {MAX_ACTIVITIES} activities: drop one.")
            new = secrets.token_hex(4)
            activity = {"id": new, "kind": kind, "content": dict(content), "choices": list(choices)}
            self._store(room, "prepared", activity=activity)
            return new

    def drop(self, viewer: Viewer, code: Any, activity_id: Any) -> None:
        """Remove an activity that has not begun."""
        with self._lock:
            room = self.hosted(viewer, code)
            if _activity(room, activity_id).begun:
                raise DataError("It has begun already: only what is still to come can be dropped.")
            self._store(room, "dropped", activity=activity_id)

    def move_up(self, viewer: Viewer, code: Any, activity_id: Any) -> None:
        """Put an activity before the one that it stands behind in the plan."""
        with self._lock:
            room = self.hosted(viewer, code)
            if _activity(room, activity_id).id != room.order[0]:
                self._store(room, "moved", activity=activity_id)

    def begin(self, viewer: Viewer, code: Any, activity_id: Any = None) -> None:
        """Show an activity to the room; the next prepared one where none is named.

        Raises SettingsError where a sweep's card does not go with the room's rules.
        """
        with self._lock:
            room = self.hosted(viewer, code)
            wanted = activity_id or room.next_prepared()
            if wanted is None:
                raise DataError("Nothing more is prepared: add an activity first.")
            activity = _activity(room, wanted)
            _check_cards(room.rules, activity)
            self._store(room, "began", activity=activity.id)

    def reveal(self, viewer: Viewer, code: Any, activity_id: Any) -> None:
        """Show what was chosen and what is true; nobody chooses after it."""
        with self._lock:
            room = self.hosted(viewer, code)
            activity = _activity(room, activity_id)
            if activity.begun and not activity.revealed:
                self._store(room, "revealed", activity=activity.id)

    def choose(self, viewer: Viewer, code: Any, activity_id: Any, choice: Any) -> None:
        """Guess or vote; until it is revealed one may choose again, and the last choice counts, once a person."""
        with self._lock:
            room = self.get(code)
            person, activity = self._member(viewer, room), _activity(room, activity_id)
            if not activity.begun or activity.id != room.current:
                raise DataError("The room is at something else now: what you chose was not counted.")
            if activity.revealed:
                raise DataError("It was revealed already: what you chose was not counted.")
            if choice not in activity.choices:
                raise DataError("Choose one of the answers that are offered.")
            if activity.answers.get(person.id) != choice:
                self._store(room, "chose", viewer=person.viewer, activity=activity.id, choice=choice)

    def deal(self, viewer: Viewer, code: Any, activity_id: Any, another: bool = False) -> int:
        """The card of a sweep that is one's own; ``another``: a new one, once that is trained. Each time it is the
        first of those that were dealt least often."""
        with self._lock:
            room = self.get(code)
            person, activity = self._member(viewer, room), _activity(room, activity_id)
            cards = activity.content.get("cards", ())
            if not cards or not activity.begun:
                raise DataError("No sweep is under way in this room.")
            if another or person.id not in activity.cards:
                dealt = [card for _, card in activity.deals]
                card = min(range(len(cards)), key=dealt.count)
                self._store(room, "dealt", viewer=person.viewer, activity=activity.id, card=card)
            return activity.cards[person.id]

    # Helpers

    def _member(self, viewer: Viewer, room: Room) -> Person:
        person = self.person(viewer, room)
        if person is None:
            raise DataError("You are not in this room: join it with its code.")
        if person.changes >= MAX_CHANGES:
            raise BusyError("You changed too much in this room: ask its host to open another one.")
        return person

    def _store(self, room: Room, kind: str, **values: Any) -> None:
        event = {"kind": kind, "at": self._clock.now(), **values}
        self._files.append(room.code, event)
        room.add(event)

    def _restore(self, code: str, events: Sequence[Mapping[str, Any]]) -> None:
        room = Room(code)
        try:
            for event in events:
                room.add(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # A damaged line was left out; what came after it may not fit any more.
            log.warning("room %s cannot be read whole: %s", code, error)
        if room.host:
            self._rooms[code] = room
        self.end_expired()

    def _end(self, room: Room) -> None:
        self._files.remove(room.code)
        self._rooms.pop(room.code, None)
        self._ended.append(room.code)
        self._update_hosts()

    def _update_hosts(self) -> None:
        """Tell the lab who hosts a room, and how much of a training's time short work may take."""
        self._access.room_hosts = frozenset(room.host for room in self._rooms.values())
        note_rooms(str(self._data_dir), bool(self._rooms))
        self._queue.short_share = min((room.rules.short_share for room in self._rooms.values()), default=None)

    def _new_code(self) -> str:
        while (code := "".join(secrets.choice(_LETTERS) for _ in range(6))) in {*self._rooms, *self._ended}:
            pass
        return code


def _minutes(value: Any) -> float:
    if not is_number(value, 1, MAX_MINUTES):
        raise DataError(f"A room lasts from 1 to {MAX_MINUTES:,} minutes.")
    return float(value)


def _named(room: Room, person_id: Any) -> Person:
    person = next((each for each in room.present if each.id == person_id), None)
    if person is None:
        raise NotFoundError("That person is not in the room.")
    return person


def _check_cards(rules: Rules, activity: Activity) -> None:
    for card in activity.content["cards"] if activity.kind == SWEEP else ():
        card_config(rules, card)


def _activity(room: Room, activity_id: Any) -> Activity:
    activity = room.activities.get(activity_id) if isinstance(activity_id, str) else None
    if activity is None:
        raise NotFoundError("This room has no such activity.")
    return activity


def _free_name(room: Room, name: str, but: Person | None = None) -> str:
    """``name``, with a number behind it where somebody in the room has it already."""
    taken = {each.name.casefold() for each in room.present if each is not but}
    numbered = (name if number == 1 else f"{name[:26]} {number}" for number in range(1, MAX_PEOPLE + 2))
    return next(each for each in numbered if each.casefold() not in taken)
