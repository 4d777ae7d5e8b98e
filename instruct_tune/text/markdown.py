"""Escape text from outside for use in the lab's Markdown."""

from __future__ import annotations

import re

from .plain_text import shortened

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$&:])")


def plain(text: object, most: int = 120) -> str:
    """``text`` escaped so that Markdown shows it literally, on one line of at most ``most`` characters."""
    return _MARKDOWN.sub(r"\\\1", shortened(" ".join(str(text).split()), most))
