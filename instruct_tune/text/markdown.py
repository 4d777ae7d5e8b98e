"""Escape text from outside for use in the lab's Markdown."""

from __future__ import annotations

import re

from .plain_text import shortened

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$&:])")

_BACKTICKS = re.compile("`+")


def plain(text: object, most: int = 120) -> str:
    """``text`` escaped so that Markdown shows it literally, on one line of at most ``most`` characters."""
    return _MARKDOWN.sub(r"\\\1", shortened(" ".join(str(text).split()), most))


def code_span(text: object) -> str:
    """``text`` on one line as inline code, whatever it holds."""
    line = " ".join(str(text).split())
    fence = "`" * (1 + max(map(len, _BACKTICKS.findall(line)), default=0))
    gap = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{gap}{line}{gap}{fence}"
