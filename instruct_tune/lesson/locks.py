"""Locks: a teacher's limits on settings, in a link or in a room.

A lock is written as a text: ``fixed`` (the setting stays what the teacher set), ``hidden`` (so, and it is not shown),
``LOW..HIGH`` (a number in this range) or ``A|B|C`` (one of these values).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.run_config import RunConfig
from ..errors import SettingsError
from ..text.plain_text import shown, shown_name

FIXED, HIDDEN, RANGE, CHOICES = "fixed", "hidden", "range", "choices"
MAX_LOCKS, MAX_CHOICES, LONGEST_LOCK = 100, 20, 400
_LISTS = ("data.filters", "data.columns", "lora.target_modules", "train.own_prompts", "generation.stop")
"""Settings that hold more than one value: they can be fixed or hidden, and have no range."""
_LEFT_OUT: dict[str, Any] = {"data.unify_newlines": False, "generation.stop": []}
"""Settings that the configuration's JSON leaves out where they have their default."""


@dataclass(frozen=True)
class Lock:
    """A limit on one setting. ``kind`` is FIXED, HIDDEN, RANGE (``low`` to ``high``) or CHOICES."""

    kind: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Any, ...] = ()

    @property
    def fixes(self) -> bool:
        """Whether the setting keeps the teacher's value."""
        return self.kind in (FIXED, HIDDEN)

    def fault(self, name: str, value: Any, teachers: Any) -> str | None:
        """What is wrong with ``value`` for the setting ``name``; ``teachers``: the value that the teacher set."""
        if self.fixes:
            return None if value == teachers else f"{name} is fixed at {shown(teachers)} here"
        if self.kind == CHOICES:
            # True equals 1, and is not one of 1 and 2.
            if any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.choices):
                return None
            return f"{name} must be one of {', '.join(map(shown, self.choices))} here"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and self.low <= value <= self.high:
            return None
        return f"{name} must be between {self.low:,g} and {self.high:,g} here"

    def nearest(self, value: Any, teachers: Any) -> Any:
        """``value`` where the lock allows it, else the allowed value to begin with."""
        if self.fault("", value, teachers) is None:
            return value
        if self.fixes or self.fault("", teachers, teachers) is None:
            return teachers
        return self.choices[0] if self.choices else self.low if math.isfinite(self.low) else self.high


Locks = Mapping[str, Lock]


def read_locks(texts: Mapping[str, Any]) -> dict[str, Lock]:
    """Locks by the names of their settings. Raises SettingsError that names every problem."""
    if len(texts) > MAX_LOCKS:
        raise SettingsError([f"there are {len(texts)} locks, and at most {MAX_LOCKS} are allowed"])
    known, locks, problems = settings_of(RunConfig()), {}, []
    for name, text in texts.items():
        if name not in known:
            problems.append(f"the lock {shown_name(name)} is about no setting")
        elif lock := _read(name, text):
            locks[name] = lock
        else:
            problems.append(f"the lock on {name} must be fixed, hidden, LOW..HIGH or A|B, not {shown(text)}")
    if problems:
        raise SettingsError(problems)
    return locks


def faults(locks: Locks, config: RunConfig, teachers: RunConfig) -> list[str]:
    """What the locks forbid in ``config``, a sentence's part each. ``teachers``: the configuration that they fix."""
    values, fixed = settings_of(config), settings_of(teachers)
    checked = (lock.fault(name, values[name], fixed[name]) for name, lock in locks.items())
    return [fault for fault in checked if fault]


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every setting by its dotted name, such as ``train.learning_rate``. A list is one setting."""
    return {**_LEFT_OUT, **dict(_flat(config.to_dict(), ""))}


def _flat(section: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in section.items():
        whole = f"{prefix}{name}"
        if isinstance(value, Mapping) and whole not in ("template", "data.columns"):
            pairs += _flat(value, f"{whole}.")
        else:
            pairs.append((whole, value))
    return pairs


def _read(name: str, text: Any) -> Lock | None:
    if not isinstance(text, str) or len(text) > LONGEST_LOCK:
        return None
    text = text.strip()
    if text in (FIXED, HIDDEN):
        return Lock(text)
    if name in _LISTS:
        return None
    low, dots, high = text.partition("..")
    if dots:
        return _range(low, high)
    choices = tuple(_value(part) for part in text.split("|") if part.strip())
    return Lock(CHOICES, choices=choices) if 2 <= len(choices) <= MAX_CHOICES else None


def _range(low: str, high: str) -> Lock | None:
    try:
        ends = float(low), float(high)
    except ValueError:
        return None
    return Lock(RANGE, *ends) if math.isfinite(sum(ends)) and ends[0] <= ends[1] else None


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    return value if isinstance(value, int | float | bool) or value is None else text.strip()
