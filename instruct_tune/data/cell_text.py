"""Extract the text of one cell, where the cell holds exactly one text.

Public datasets write a text as a string, as content parts (``[{"type": "text", "text": …}]``), as a list of one
answer, or as SQuAD's ``{"text": […], "answer_start": […]}``. A list of several different texts has no single
meaning here, so it stays a list, and loading rejects it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_ANSWER_KEYS = {"text", "answer_start", "answer_end"}


def text_in(value: Any) -> Any:
    """Return the text of ``value``; None for an empty list; ``value`` itself if it does not hold exactly one text."""
    if isinstance(value, dict) and "text" in value and value.keys() <= _ANSWER_KEYS:
        inner = value["text"]
        return text_in(inner) if isinstance(inner, str | list) else value
    if not isinstance(value, list):
        return value
    if not value:
        return None
    if all(isinstance(each, str) for each in value):
        return value[0] if len(set(value)) == 1 else value
    return _parts(value) if all(_is_part(each) for each in value) else value


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str)


def _parts(parts: list[dict[str, Any]]) -> str:
    return "".join(part["text"] for part in parts)


def is_empty(value: Any) -> bool:
    """Whether ``value`` is empty: null, NaN, blank text, JSON of such, or a list or object of nothing else.

    ``false`` and ``0`` are not empty.
    """
    if isinstance(value, str) and value.strip()[:1] in ("[", "{", "n"):
        value = from_json(value, value)
    return all(isinstance(leaf, str) and not leaf.strip() for leaf in _leaves(value))


def from_json(text: str, otherwise: Any) -> Any:
    """Parse ``text`` as JSON; return ``otherwise`` if it is not valid JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values inside lists and objects, without nulls and NaN. Uses a stack, since nesting may be deep."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)
        elif value is not None and value == value:
            yield value
