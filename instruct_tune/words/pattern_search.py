"""Which texts a regular expression is found in. A program of its own, so that whoever waits for it can end it.

Run by ``patterns.py``; it knows nothing of the lab. Stdin: ``[pattern, [text, ...]]`` as JSON; stdout: the places.
"""

from __future__ import annotations

import json
import re
import sys


def main() -> None:
    """Answer what stdin asks."""
    pattern, texts = json.load(sys.stdin)
    search = re.compile(pattern).search
    json.dump([place for place, text in enumerate(texts) if search(text)], sys.stdout)


if __name__ == "__main__":
    main()
