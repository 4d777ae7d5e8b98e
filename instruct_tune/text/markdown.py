"""Escape text from outside for use in the lab's Markdown."""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$&:])")


def plain(text: object, most: int = 120) -> str:
    """``text`` escaped so that Markdown shows it literally, on one line of at most ``most`` characters."""
    line = " ".join(str(text).split())
    return _MARKDOWN.sub(r"\\\1", line if len(line) <= most else line[: most - 1] + "…")
