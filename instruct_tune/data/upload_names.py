"""What a visitor called the file that is kept under a name nobody can guess.

It stands in a small file beside it, goes when the upload goes, and is only ever shown: no path is
made of it.
"""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 80
"""Characters of a name that are kept."""


def remember(kept: Path, name: str) -> None:
    """Note that ``kept`` was uploaded as ``name``."""
    Path(f"{kept}{_ENDING}").write_text(" ".join(name.split())[-LONGEST:], encoding="utf-8", errors="replace")


def uploaded_as(source: str | Path) -> str | None:
    """The name that a file was uploaded under; None for everything that was not uploaded."""
    note = f"{source}{_ENDING}"
    # os.path says False where Path raises, as for a name that is too long to exist.
    return Path(note).read_text(encoding="utf-8") if os.path.isfile(note) else None


_ENDING = ".name"
