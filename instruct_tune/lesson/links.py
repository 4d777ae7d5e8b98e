"""A link's state in the page's address: preset, settings, locks, tab, path and step, readable and editable by hand.

``?preset=minute&set.train.learning_rate=0.002&lock.train.seed=hidden&tab=Train&step=3``: ``set.NAME`` is read as the
command line reads ``--set NAME=VALUE``, ``lock.NAME`` as ``locks`` describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from ..config.presets import PRESETS
from ..config.run_config import RunConfig
from ..config.validation import merge, parse_override
from ..errors import DataError, SettingsError
from ..text.plain_text import shown
from .locks import settings_of

MAX_SETTINGS = 100
LONGEST_ADDRESS = 8_000
"""Characters; some servers, and what people paste a link into, take no longer one."""
_BESIDE = 200
"""Characters of an address before its query."""
_SET, _LOCK = "set.", "lock."


@dataclass(frozen=True)
class Link:
    """What an address asks for; empty where it does not.

    Args:
        settings: Values over the preset's, by dotted name.
        locks: Locks as texts, by dotted name.
        tab: The tab to open.
        path: The path of the panel Learn, and ``step``, from 1: where it opens.
        room: The code of a room, whose own locks hold.
    """

    preset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    tab: str = ""
    path: str = ""
    step: int = 0
    room: str = ""

    @property
    def fills(self) -> bool:
        """Whether it holds a configuration."""
        return bool(self.preset or self.settings or self.locks)


def read_link(params: Mapping[str, str]) -> Link:
    """Read the parameters of an address; other parameters are somebody else's. Raises SettingsError."""
    settings = dict(parse_override(f"{name[4:]}={text}") for name, text in params.items() if name.startswith(_SET))
    if len(settings) > MAX_SETTINGS:
        raise SettingsError([f"there are {len(settings)} settings, and at most {MAX_SETTINGS} are allowed"])
    step = params.get("step", "0")
    if not step.isdecimal() or len(step) > 4:
        raise SettingsError([f"step must be a whole number from 1, not {shown(step)}"])
    return Link(
        preset=params.get("preset", ""),
        settings=settings,
        locks={name[5:]: text for name, text in params.items() if name.startswith(_LOCK)},
        step=int(step),
        **{name: params.get(name, "") for name in ("tab", "path", "room")},
    )


def write_link(link: Link) -> str:
    """The query of the address, without its question mark."""
    pairs = [(name, getattr(link, name)) for name in ("room", "preset")]
    pairs += [(_SET + name, text_of(value)) for name, value in link.settings.items()]
    pairs += [(_LOCK + name, text) for name, text in link.locks.items()]
    pairs += [("tab", link.tab), ("path", link.path), ("step", link.step or "")]
    # These characters keep their meaning in a query, and the address stays readable.
    given = [(name, value) for name, value in pairs if value != "" or name.startswith(_SET)]
    return urlencode(given, quote_via=quote, safe=",:/|")


def require_short(query: str) -> None:
    """Raise DataError for a query of which no usable address can be made."""
    if len(query) + _BESIDE <= LONGEST_ADDRESS:
        return
    longest = max(query.split("&"), key=len)
    name = longest.partition("=")[0].removeprefix(_SET)
    raise DataError(
        f"The address would have {len(query) + _BESIDE:,} characters, and at most {LONGEST_ADDRESS:,} are allowed: "
        f"shorten {name}, which takes {len(longest):,} of them."
    )


def configured(preset: Any, settings: Mapping[str, Any]) -> RunConfig:
    """``preset`` with ``settings``, by dotted name, over it. Raises SettingsError that names every problem."""
    if not isinstance(preset, str) or preset not in PRESETS:
        raise SettingsError([f"there is no preset {shown(preset)}: choose one of {', '.join(PRESETS)}"])
    sections: dict[str, Any] = {}
    for name, value in settings.items():
        merge(sections, name, value)
    return RunConfig.from_dict(sections, preset)


def settings_over(preset: str, config: RunConfig) -> dict[str, Any]:
    """The settings of ``config`` that differ from the preset's, by dotted name."""
    before = settings_of(PRESETS[preset])
    return {name: value for name, value in settings_of(config).items() if not _same(value, before[name])}


def text_of(value: Any) -> str:
    """A setting's value as ``parse_override`` reads it."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    # A text that looks like JSON would be read as JSON.
    return value if parse_override(f"a={value}")[1] == value else json.dumps(value, ensure_ascii=False)


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
