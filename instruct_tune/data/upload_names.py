"""Store the original name of an uploaded file, which itself is saved under a random name.

The name is in a small file beside the upload, is deleted with it, and is only displayed: no path is built from it.
"""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 80
"""Characters of a name that are stored."""


def remember(kept: Path, name: str) -> None:
    """Store ``name`` as the original name of the uploaded file ``kept``."""
    Path(name_file(kept)).write_text(" ".join(name.split())[-LONGEST:], encoding="utf-8", errors="replace")


def name_file(kept: str | Path) -> str:
    """Path of the file that holds the original name of the uploaded file ``kept``."""
    return f"{kept}{_ENDING}"


def uploaded_as(source: str | Path) -> str | None:
    """Return the original name of an uploaded file; None for any other file."""
    note = name_file(source)
    # os.path returns False where Path raises, for example for a name that is too long.
    return Path(note).read_text(encoding="utf-8") if os.path.isfile(note) else None


_ENDING = ".name"
