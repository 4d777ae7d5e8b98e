"""Worker program that searches texts for a regular expression; ``regex_search`` runs it, and can kill it.

Independent of the package. Stdin: ``[pattern, [text, ...], whole]`` as JSON. Stdout: indices of the matching texts.
"""

from __future__ import annotations

import json
import re
import resource
import sys

MAX_BYTES = 256 * 2**20
"""Memory for the search, besides that for the texts; a normal pattern needs a few megabytes."""
BYTES_PER_CHARACTER = 16
"""Memory per input character: up to four in a text, and again while the JSON is read."""


def main() -> None:
    """Process the request on stdin within the memory limit."""
    request = sys.stdin.read()
    limit = MAX_BYTES + BYTES_PER_CHARACTER * len(request)
    # macOS has no such limit.
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pattern, texts, whole = json.loads(request)
    compiled = re.compile(pattern)
    match = compiled.fullmatch if whole else compiled.search
    json.dump([index for index, text in enumerate(texts) if match(text)], sys.stdout)


if __name__ == "__main__":
    main()
