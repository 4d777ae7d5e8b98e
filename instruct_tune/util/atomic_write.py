"""Folders that are there whole or not at all: written beside, sealed, synced and renamed; looked at before use."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "manifest.json"
"""Bytes and sha256 of every other file of the folder. Written last: without it a folder is not whole."""
PARTIAL = ".partial"
"""Beside the folders, where the next one is written."""
_OLD = "old-"
"""Begins the name of a folder that is being replaced."""


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of ``final`` if all goes well, and is removed if not.

    Whoever is killed in here, or loses power, leaves the old folder or the new one, never half of one.
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
        # Also where writing failed: the old folder comes back, and nothing is left beside.
        finish(final.parent)


def finish(parent: Path) -> None:
    """Finish what ``writing`` was broken off at in ``parent``, and remove what it left beside.

    A process that ends between the two renames leaves no folder of the final name: the new one takes its place where
    it is whole, else the old one comes back.
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
    """The same for one file: whoever is killed in here leaves the old one or the new one. Raises OSError."""
    beside = path.with_name(f"{path.name}{PARTIAL}")
    beside.write_text(text, encoding="utf-8")
    _sync(beside)
    beside.replace(path)
    _sync(path.parent)


def fault(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in a few words; None where every file is as it was written."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for name, file in told["files"].items():
            path = folder / name
            if path.stat().st_size != file["bytes"]:
                return f"{name} has {path.stat().st_size} of {file['bytes']} bytes"
            if _sha256(path) != file["sha256"]:
                return f"{name} is not what was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "it cannot be read"
    return None


def _seal(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files}
    (folder / MANIFEST).write_text(json.dumps({"files": told}, indent=1), encoding="utf-8")
    for path in (*files, folder / MANIFEST, folder):
        _sync(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """What was written is on the disk, and not only on its way; of a folder: its names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
