"""The limits that hold for a page: those of its viewer's room, else those of its link."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...config.run_config import RunConfig
from ...config.validation import merge
from ...config.viewer import Viewer
from ...errors import LabError, SettingsError
from ...lesson.links import Link, configured
from ...lesson.locks import Lock, Locks, faults, read_locks, settings_of
from ...lesson.rules import Rules
from ...services.rooms import Rooms
from ..context import error_text
from ..first_preset import first_preset


@dataclass(frozen=True)
class Opened:
    """What the page was opened with: its link, and what is wrong with it (a sentence)."""

    link: Link = Link()
    fault: str = ""


@dataclass(frozen=True)
class Place:
    """Where the page is: in a room, on a link, or neither.

    Args:
        code: The room that the viewer is in or hosts, and ``title``; ``name``: theirs in it.
        hosts: Whether they host it: its rules are for the others.
        rules: The rules that hold.
        offered: (code, title) of the link's room, which they have not joined.
        opened: What the page was opened with, where no room's rules hold.
    """

    code: str = ""
    title: str = ""
    name: str = ""
    hosts: bool = False
    rules: Rules | None = None
    offered: tuple[str, str] | None = None
    opened: Opened = Opened()


@dataclass(frozen=True)
class Limits:
    """Locks, and the configuration whose values they fix."""

    teachers: RunConfig
    locks: Locks

    def values(self) -> dict[str, Any]:
        """The teacher's values of the locked settings, by name."""
        settings = settings_of(self.teachers)
        return {name: settings[name] for name in self.locks}

    def hold(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A form's configuration with what is fixed; raises SettingsError where another lock is broken."""
        held = copy.deepcopy(dict(config))
        for name, value in self.values().items():
            if self.locks[name].fixes:
                merge(held, name, value)
        if problems := faults(self.locks, RunConfig.from_dict(held), self.teachers):
            raise SettingsError(problems)
        return held


def limits_of_link(link: Link) -> Limits:
    """What a link sets and locks. Raises SettingsError that names every problem."""
    teachers, locks = configured(link.preset or first_preset(), link.settings), read_locks(link.locks)
    # What is fixed stays as the link sets it; ranges and choices have to allow that.
    if inside := faults({name: lock for name, lock in locks.items() if not lock.fixes}, teachers, teachers):
        raise SettingsError([f"the link's own settings break its locks: {fault}" for fault in inside])
    return Limits(teachers, locks)


class LimitsInForce:
    """Finds them for a viewer."""

    def __init__(self, rooms: Rooms):
        self._rooms = rooms

    def place(self, viewer: Viewer, opened: Opened) -> Place:
        """Where the page of ``viewer`` is now. Cheap: a page asks for it at every poll."""
        if joined := self._rooms.joined(viewer):
            room, person = joined
            hosts = self._rooms.is_host(viewer, room)
            return Place(room.code, room.title, person.name, hosts, room.rules, None, Opened(fault=opened.fault))
        if hosted := self._rooms.hosted_by(viewer):
            return Place(hosted.code, hosted.title, "", True, hosted.rules, None, Opened(fault=opened.fault))
        if not opened.link.room:
            return Place(opened=opened)
        try:
            room = self._rooms.get(opened.link.room)
            self._rooms.person(viewer, room)
        except LabError as error:
            return Place(opened=Opened(fault=opened.fault or error_text(error)))
        return Place(offered=(room.code, room.title), opened=Opened(fault=opened.fault))

    def of(self, place: Place) -> Limits | None:
        """The limits that hold there. The locks of a link with a room are the room's: they hold for its members."""
        if place.rules:
            if place.hosts:
                return None
            link = Link(place.rules.preset, place.rules.settings, place.rules.locks)
        else:
            link = place.opened.link
        return limits_of_link(link) if link.locks else None

    def hold(self, viewer: Viewer, opened: Opened, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The configuration of a form as the limits have it. Raises SettingsError where they forbid it."""
        limits = self.of(self.place(viewer, opened))
        return limits.hold(config) if limits else config


def counted(locks: Mapping[str, str] | Locks) -> str:
    """How many settings are locked, and how: ``3 settings are fixed, 1 is hidden, 2 have limits``."""
    kinds = [lock.kind if isinstance(lock, Lock) else str(lock).strip() for lock in locks.values()]
    fixed, hidden = kinds.count("fixed"), kinds.count("hidden")
    counts = [
        (fixed, "is fixed", "are fixed"),
        (hidden, "is hidden", "are hidden"),
        (len(kinds) - fixed - hidden, "has limits", "have limits"),
    ]
    parts = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    if not parts:
        return ""
    number, _, rest = parts[0].partition(" ")
    return ", ".join([f"{number} setting{'s' if number != '1' else ''} {rest}", *parts[1:]])
