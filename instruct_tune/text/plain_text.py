"""Limits and checks of texts from outside, and short texts for display: counts, reasons, cut texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

LONGEST_NAME = 200
"""Maximum characters of a name that is only displayed."""
LONGEST_TEMPLATE = 100_000
"""Maximum characters of a prompt template, including few-shot examples, and of a chat template's markup."""
HALF_A_CHARACTER = "holds half a character (a lone surrogate): remove it"
_SHOWN = 60


def is_encodable(text: str) -> bool:
    """Whether ``text`` has no lone surrogates. JSON can spell them (``"\\ud83d"``), UTF-8 cannot encode them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_fault(text: str, longest: int) -> str | None:
    """The fault of a text longer than ``longest`` or not encodable, worded to follow its name; None if it has none."""
    if len(text) > longest:
        return f"has {len(text):,} characters, and at most {longest:,} are allowed: shorten it"
    return None if is_encodable(text) else HALF_A_CHARACTER


def list_fault(texts: Sequence[str], most: int, longest: int) -> str | None:
    """``text_fault`` for a list of at most ``most`` texts; begins with a space, or with the index of a text."""
    if len(texts) > most:
        return f" holds {len(texts):,} texts, and at most {most:,} are allowed: shorten it"
    faults = ((number, text_fault(text, longest)) for number, text in enumerate(texts))
    return next((f"[{number}] {fault}" for number, fault in faults if fault), None)


def counted(number: int, thing: str) -> str:
    """``(1, "row")`` → ``1 row``; ``(1234, "row")`` → ``1,234 rows``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def first_line(error: BaseException) -> str:
    """At most 200 characters of the first line of an error's message, or its type; without a full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")


def shortened(text: str, most: int, mark: str = "…") -> str:
    """At most ``most`` characters of ``text``; a longer one ends in ``mark``."""
    return text if len(text) <= most else text[: most - len(mark)] + mark


def shown(value: Any) -> str:
    """A value as one line of ASCII JSON, truncated to 60 characters."""
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):
        # More digits or nesting than Python can write.
        text = type(value).__name__
    return shortened(text, _SHOWN, "...")


def shown_name(name: Any) -> str:
    """A short printable name unchanged, anything else as ``shown``."""
    return name if isinstance(name, str) and name.isprintable() and 0 < len(name) <= _SHOWN else shown(name)
