"""Which texts a regular expression is found in. A program of its own, so that whoever waits for it can end it.

Run by ``patterns.py``; it knows nothing of the lab. Stdin: ``[pattern, [text, ...], whole]`` as
JSON; stdout: the places.
"""

from __future__ import annotations

import json
import re
import resource
import sys

MAX_BYTES = 256 * 2**20
"""Memory for the search, beside what the texts take; an honest pattern needs a few megabytes."""
BYTES_PER_CHARACTER = 16
"""What a character of the input may take: four in a text, and again while the JSON is read."""


def main() -> None:
    """Answer what stdin asks, within bounded memory."""
    request = sys.stdin.read()
    limit = MAX_BYTES + BYTES_PER_CHARACTER * len(request)
    # macOS has no such limit.
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pattern, texts, whole = json.loads(request)
    compiled = re.compile(pattern)
    match = compiled.fullmatch if whole else compiled.search
    json.dump([place for place, text in enumerate(texts) if match(text)], sys.stdout)


if __name__ == "__main__":
    main()
