"""Atomic writes: a folder or file is written beside its target, synced and renamed; a manifest allows a check later."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .hashing import sha256_of_file

MANIFEST = "manifest.json"
"""Size and sha256 of every other file in the folder. Written last: a folder without it is incomplete."""
PARTIAL = ".partial"
"""Folder beside the targets in which the next one is written."""
_OLD = "old-"
"""Name prefix of a folder that is being replaced."""


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """A new folder to write into; it replaces ``final`` on success and is removed on failure.

    A crash or power loss leaves the old folder or the new one, never a partial one.
    """
    finish(final.parent)
    beside = final.parent / PARTIAL
    written = beside / final.name
    written.mkdir(parents=True)
    try:
        yield written
        _seal(written)
        if final.exists():
            final.rename(beside / f"{_OLD}{final.name}")
        written.rename(final)
        _sync(final.parent)
    finally:
        # On failure too: restores the old folder and removes the partial one.
        finish(final.parent)


def finish(parent: Path) -> None:
    """Finish an interrupted ``atomic_folder`` in ``parent``, and remove its partial folders.

    After a crash between the two renames, no folder has the final name. The new folder then takes it if it is intact,
    else the old one is restored.
    """
    beside = parent / PARTIAL
    if not beside.is_dir():
        return
    for old in sorted(beside.glob(f"{_OLD}*")):
        final = parent / old.name.removeprefix(_OLD)
        written = beside / final.name
        if not final.exists():
            (written if fault(written) is None else old).rename(final)
            _sync(parent)
    shutil.rmtree(beside, ignore_errors=True)


def write_file(path: Path, text: str) -> None:
    """Replace a file atomically: a crash leaves the old file or the new one. Raises OSError."""
    beside = path.with_name(f"{path.name}{PARTIAL}")
    beside.write_text(text, encoding="utf-8")
    _sync(beside)
    beside.replace(path)
    _sync(path.parent)


def fault(folder: Path) -> str | None:
    """What is wrong with a folder that has a manifest, in a few words; None if every file is as written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, file in manifest["files"].items():
            path = folder / name
            if path.stat().st_size != file["bytes"]:
                return f"{name} has {path.stat().st_size} of {file['bytes']} bytes"
            if sha256_of_file(path) != file["sha256"]:
                return f"{name} is not what was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "it cannot be read"
    return None


def _seal(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)} for path in files
    }
    (folder / MANIFEST).write_text(json.dumps({"files": entries}, indent=1), encoding="utf-8")
    for path in (*files, folder / MANIFEST, folder):
        _sync(path)


def _sync(path: Path) -> None:
    """fsync a file, or the directory entries of a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
