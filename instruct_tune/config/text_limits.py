"""How long the texts and lists of a configuration may be; honest use meets none of these bounds.

A configuration is kept with its run and read by everybody who looks at it, so one visitor's must not be arbitrarily
large. A configuration is given here as its fields: a JSON object, sections inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..text.plain_text import (
    HALF_A_CHARACTER,
    LONGEST_NAME,
    LONGEST_TEMPLATE,
    is_encodable,
    list_fault,
    shown_name,
    text_fault,
)
from .filters import LONGEST_MODEL

MAX_TARGETS = 10_000
MAX_IGNORED = 1000
LONGEST_COLUMN = 500
MAX_CHARACTERS = 1_000_000
"""Characters of all texts of a configuration together: rows picked by hand, target modules, a template."""

_TEXTS = {
    "model": LONGEST_MODEL,
    "data.source": LONGEST_MODEL,
    "data.split": LONGEST_NAME,
    **{f"data.columns.{part}": LONGEST_COLUMN for part in ("instruction", "input", "output", "system")},
    "template": LONGEST_NAME,
}
"""The longest value of each text that is not one of a few known ones."""
_LISTS = {
    "data.columns.ignore": (MAX_IGNORED, LONGEST_COLUMN),
    "lora.target_modules": (MAX_TARGETS, LONGEST_NAME),
}
"""Of each list of texts the most items, and the longest one."""


def text_problems(fields: Mapping[str, Any]) -> list[str]:
    """Texts and lists beyond their bounds, and texts that cannot be encoded, each by name."""
    texts = {name: (field_of(fields, name), longest) for name, longest in _TEXTS.items()}
    template = fields["template"]
    for part in template if isinstance(template, Mapping) else ():
        longest = LONGEST_NAME if part == "name" else LONGEST_TEMPLATE
        texts[f"template.{shown_name(part)}"] = template[part], longest
    problems = [
        f"{name} {fault}"
        for name, (text, longest) in texts.items()
        if isinstance(text, str) and (fault := text_fault(text, longest))
    ]
    for name, (most, longest) in _LISTS.items():
        value = field_of(fields, name)
        if isinstance(value, tuple) and (fault := list_fault(value, most, longest)):
            problems.append(f"{name}{fault}")
    others = _texts({**fields, "template": None})
    return problems + [f"{name} {HALF_A_CHARACTER}" for name, text in others if not is_encodable(text)]


def size_problems(fields: Mapping[str, Any]) -> list[str]:
    """What is wrong with a configuration as a whole, where each of its texts is within its bounds."""
    size = sum(len(text) for _, text in _texts(fields))
    if size <= MAX_CHARACTERS:
        return []
    return [
        f"the configuration holds {size:,} characters of text, and at most {MAX_CHARACTERS:,} are allowed: "
        "shorten its longest lists or its template"
    ]


def field_of(fields: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name."""
    value: Any = fields
    for part in name.split("."):
        value = value[part]
    return value


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text inside a JSON value, with its name."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, f"{name}.{key}" if name else key)
    elif isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from _texts(each, f"{name}[{number}]")
