"""A person's annotations of a run: name, tags and notes. Plain text, with limits."""

from __future__ import annotations

from typing import Any

from ..errors import DataError
from ..text.plain_text import LONGEST_NAME, is_encodable, text_fault

MAX_TAGS, LONGEST_TAG, LONGEST_NOTES = 12, 40, 10_000


def read_tags(value: Any) -> tuple[str, ...]:
    """Tags from one comma-separated text or from a list of texts, without duplicates and surrounding spaces.

    Raises DataError where they are too many, too long, or not text.
    """
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise DataError("Tags are texts: one text with commas between them, or a list.")
    tags = tuple(dict.fromkeys(tag for part in parts if (tag := " ".join(part.split()))))
    if len(tags) > MAX_TAGS or any(len(tag) > LONGEST_TAG or "," in tag for tag in tags):
        raise DataError(f"A run has at most {MAX_TAGS} tags, none over {LONGEST_TAG} characters or with a comma.")
    if not all(map(is_encodable, tags)):
        raise DataError("A tag holds half a character (a lone surrogate): remove it.")
    return tags


def read_name(value: Any) -> str:
    """A run's name without surrounding spaces; may be empty. Raises DataError as ``read_notes`` does."""
    return _text(value, "A run's name", LONGEST_NAME)


def read_notes(value: Any) -> str:
    """Notes without surrounding spaces. Raises DataError where they are too long, or not text."""
    return _text(value, "The text of a run's notes", LONGEST_NOTES)


def _text(value: Any, name: str, longest: int) -> str:
    if not isinstance(value, str):
        raise DataError(f"{name} must be a text.")
    if fault := text_fault(value, longest):
        raise DataError(f"{name} {fault}.")
    return value.strip()
