"""Which texts a regular expression is found in. A program of its own, so that whoever waits for it can end it.

Run by ``patterns.py``; it knows nothing of the lab. Stdin: ``[pattern, [text, ...], whole]`` as
JSON; stdout: the places.
"""

from __future__ import annotations

import json
import re
import sys


def main() -> None:
    """Answer what stdin asks."""
    pattern, texts, whole = json.load(sys.stdin)
    compiled = re.compile(pattern)
    match = compiled.fullmatch if whole else compiled.search
    json.dump([place for place, text in enumerate(texts) if match(text)], sys.stdout)


if __name__ == "__main__":
    main()
