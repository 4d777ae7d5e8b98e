"""Text that somebody else wrote, inside markdown of ours."""

from __future__ import annotations

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~$&:])")


def plain(text: object, most: int = 120) -> str:
    """Any text, so that markdown shows it letter by letter and on one line."""
    line = " ".join(str(text).split())
    return _MARKDOWN.sub(r"\\\1", line if len(line) <= most else line[: most - 1] + "…")
