"""Rules for a setting's value beyond its type: (test, message if it fails)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Rule = tuple[Callable[[Any], bool], str]


def between(low: float, high: float) -> Rule:
    """A number from ``low`` to ``high``."""
    return (lambda value: low <= value <= high, f"must be between {low:,} and {high:,}")


def one_of(*names: str) -> Rule:
    """One of these texts."""
    return (lambda value: value in names, "must be one of " + ", ".join(names))
