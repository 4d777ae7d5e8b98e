"""Length limits for the texts and lists of a configuration; normal use never reaches them.

A configuration is stored with its run and sent to every viewer of the run, so a visitor must not make it arbitrarily
large. Functions here take a configuration as its fields: a JSON object of sections.
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
MAX_OWN_PROMPTS, LONGEST_OWN_PROMPT = 2, 2000
LONGEST_COLUMN = 500
MAX_CHARACTERS = 1_000_000
"""Maximum total characters of a configuration's texts: row ids, target modules, a template."""

_TEXTS = {
    "model": LONGEST_MODEL,
    "data.source": LONGEST_MODEL,
    "data.split": LONGEST_NAME,
    **{f"data.columns.{part}": LONGEST_COLUMN for part in ("instruction", "input", "output", "system")},
    "template": LONGEST_NAME,
}
"""Maximum length of each free text, by field."""
_LISTS = {
    "data.columns.ignore": (MAX_IGNORED, LONGEST_COLUMN),
    "lora.target_modules": (MAX_TARGETS, LONGEST_NAME),
    "train.own_prompts": (MAX_OWN_PROMPTS, LONGEST_OWN_PROMPT),
}
"""Maximum number of items, and length of an item, of each list of texts."""


def text_problems(fields: Mapping[str, Any]) -> list[str]:
    """Problems of texts and lists that exceed their limits, and of texts that cannot be encoded, with their names."""
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
    """The problem of a configuration whose texts are within their limits but too long in total, if it is one."""
    size = sum(len(text) for _, text in _texts(fields))
    if size <= MAX_CHARACTERS:
        return []
    return [
        f"the configuration holds {size:,} characters of text, and at most {MAX_CHARACTERS:,} are allowed: "
        "shorten its longest lists or its template"
    ]


def field_of(fields: Mapping[str, Any], name: str) -> Any:
    """The value at the dotted ``name``."""
    value: Any = fields
    for part in name.split("."):
        value = value[part]
    return value


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, as (dotted name, text)."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{name}.{key}" if name else key)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _texts(item, f"{name}[{number}]")
