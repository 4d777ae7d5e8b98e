"""Search with untrusted regular expressions in a separate process, with bounded time and memory.

A pattern like ``(a+)+$`` can take years, Python's ``re`` cannot be interrupted, and a library with a time limit was
seen to exceed it and to fill the memory. A separate process can always be killed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from .plain_text import HALF_A_CHARACTER, is_encodable, shortened

LONGEST_PATTERN = 500
"""Maximum characters of a pattern."""
SECONDS = 5.0
"""Time limit for all rows together; a normal pattern takes a tenth of it for 100,000 rows."""
_PROGRAM = str(Path(__file__).with_name("regex_worker.py"))


def fault_of(pattern: str) -> str | None:
    """What is wrong with a pattern, worded to follow its name; None if it is valid."""
    if not pattern:
        return "must not be empty"
    if not is_encodable(pattern):
        return HALF_A_CHARACTER
    if len(pattern) > LONGEST_PATTERN:
        return f"must have at most {LONGEST_PATTERN} characters, not {len(pattern):,}"
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"is no regular expression: {error}"
    return None


def matching(pattern: str, texts: Sequence[str], *, whole: bool = False) -> set[int]:
    """Indices of the texts in which the pattern is found, case-sensitive; ``whole``: it must match the entire text.

    Raises DataError if this takes more than ``SECONDS``, or more memory than ``regex_worker`` allows.
    """
    shown = shortened(pattern, 60, "...")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "ignore", _PROGRAM],
            input=json.dumps([pattern, list(texts), whole]).encode(),
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"The pattern {shown!r} was given up after {SECONDS:g} seconds. A repetition inside a repetition, "
            "as in (a+)+, can take for ever: write it simpler."
        ) from error
    if done.returncode:
        raise DataError(f"The pattern {shown!r} takes too much memory: write it simpler.")
    return set(json.loads(done.stdout))
