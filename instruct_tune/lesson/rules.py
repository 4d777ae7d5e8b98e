"""What the host of a room sets for everybody else in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config.presets import PRESETS
from ..config.run_config import RunConfig
from ..errors import SettingsError
from ..util.hashing import sha256_of_json
from . import locks
from .links import configured


@dataclass(frozen=True)
class Rules:
    """What the host sets for everybody else in the room.

    Args:
        preset: The preset that runs begin with.
        settings: Settings over it, by dotted name.
        locks: Locks by dotted name, as texts (``locks.read_locks``).
        max_rows: Most training rows of a run; None for no limit.
        max_steps: Most optimizer steps of a run; None for no limit.
        short_share: The share of time that short work may take from a training, 0 to 1.
        names_hidden: Whether the board and the present view show numbers instead of names.
        target: The held-out loss that the board times the runs to; None for what all of them reach.
    """

    preset: str = "minute"
    settings: Mapping[str, Any] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    max_rows: int | None = 200
    max_steps: int | None = 200
    short_share: float = 0.25
    names_hidden: bool = False
    target: float | None = None

    def over(self, settings: Mapping[str, Any]) -> Rules:
        """These rules with ``settings`` over their own."""
        return dataclasses.replace(self, settings={**self.settings, **settings})


def as_rules(stored: Mapping[str, Any]) -> Rules:
    """Rules as they were stored; one of a later release is left out."""
    known = {each.name for each in dataclasses.fields(Rules)}
    return Rules(**{name: value for name, value in stored.items() if name in known})


def read_rules(raw: Mapping[str, Any]) -> Rules:
    """Check the rules that a host sends. Raises SettingsError that names every problem."""
    known = {each.name for each in dataclasses.fields(Rules)}
    if unknown := set(raw) - known:
        raise SettingsError([f"there is no rule {name}" for name in sorted(map(str, unknown))])
    rules = Rules(**raw)
    problems = [] if rules.preset in PRESETS else [f"preset must be one of {', '.join(PRESETS)}"]
    for name, most in (("max_rows", 1_000_000), ("max_steps", 1_000_000)):
        value = raw[name]
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            problems.append(f"{name} must be a whole number from 1 to {most:,}, or nothing")
    for name, low, high in (("short_share", 0.0, 1.0), ("target", 0.0, 100.0)):
        value = raw[name]
        if not (name == "target" and value is None) and not is_number(value, low, high):
            problems.append(f"{name} must be a number from {low:g} to {high:g}")
    if not isinstance(rules.names_hidden, bool):
        problems.append("names_hidden must be true or false")
    if not isinstance(rules.settings, Mapping) or not isinstance(rules.locks, Mapping):
        problems.append("settings and locks must be objects")
    if problems:
        raise SettingsError(problems)
    held, teachers = locks.read_locks(rules.locks), teachers_config(rules)
    if inside := locks.faults({name: lock for name, lock in held.items() if not lock.fixes}, teachers, teachers):
        raise SettingsError([f"the room's own settings break its locks: {fault}" for fault in inside])
    return rules


def teachers_config(rules: Rules) -> RunConfig:
    """The configuration that runs in the room begin with. Raises SettingsError."""
    return configured(rules.preset, rules.settings)


def card_config(rules: Rules, card: Mapping[str, Any], seed: int | None = None) -> RunConfig:
    """The configuration of a sweep's card. ``seed``: of the training, where it is not the card's own.

    Raises SettingsError that names the card.
    """
    own = {} if seed is None else {"train.seed": seed}
    try:
        return teachers_config(rules.over({**own, **card["settings"]}))
    except SettingsError as error:
        raise SettingsError([f"{card['label']}: {problem}" for problem in error.problems]) from error


def forbidden(rules: Rules, config: RunConfig) -> list[str]:
    """What the rules forbid in a run's settings, a sentence's part each."""
    problems = locks.faults(locks.read_locks(rules.locks), config, teachers_config(rules))
    rows, train = config.data.limit, config.train
    if rules.max_rows is not None and (rows is None or rows > rules.max_rows):
        problems.append(f"data.limit must be at most {rules.max_rows:,} in this room")
    if rules.max_steps is not None:
        batch = train.per_device_train_batch_size * train.gradient_accumulation_steps
        steps = train.max_steps if train.max_steps > 0 else rows and -(-rows // batch) * train.num_train_epochs
        if steps is None or steps > rules.max_steps:
            problems.append(f"this room allows at most {rules.max_steps:,} steps: lower the rows, the epochs or "
                            "train.max_steps")  # fmt: skip
    return problems


def config_key(config: RunConfig) -> str:
    """Equal for equal configurations."""
    return sha256_of_json(config.to_dict())[:16]


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether it is a number from ``low`` to ``high``."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
