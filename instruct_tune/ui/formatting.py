"""Times in words."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """``75`` → ``1 min 15 s``."""
    if seconds is None:
        return "—"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def hours(number: int) -> str:
    """``168`` → ``7 days``; ``24`` → ``24 hours``."""
    if number >= 48 and number % 24 == 0:
        return f"{number // 24} days"
    return f"{number} hour" + ("s" if number != 1 else "")
