"""The lab's own cache folder, and the small JSON files in it that several processes write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import platformdirs

MAX_ENTRIES = 500
"""Entries that such a file keeps; the oldest go first."""


def cache_dir() -> Path:
    """Where converted models are kept: ``LAB_CACHE_DIR``, else the platform's cache folder."""
    return Path(os.environ.get("LAB_CACHE_DIR") or platformdirs.user_cache_dir("instruction-tuning-lab"))


def read_entries(name: str) -> dict[str, Any]:
    """The entries of the file ``name`` in the cache folder; none where it is missing or damaged."""
    try:
        entries = json.loads((cache_dir() / name).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def add_entry(name: str, key: str, value: Any) -> None:
    """Write one entry into the file ``name``; a reader never sees half a file."""
    others = {other: kept for other, kept in read_entries(name).items() if other != key}
    entries = {**dict(list(others.items())[1 - MAX_ENTRIES :]), key: value}
    file = cache_dir() / name
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(entries))
    partial.replace(file)
