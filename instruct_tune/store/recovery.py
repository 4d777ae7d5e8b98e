"""Recovery of a damaged or missing history: set it aside and rebuild it from the snapshots in the run folders.

If only the write-ahead log (``lab.sqlite-wal``) is damaged or lost, SQLite drops the last entries silently. Runs whose
snapshot is newer than their row are then restored from the snapshot.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from ..errors import StoreError
from . import snapshot, sqlite_errors
from .connection import FILE, open_history
from .retention import remove_oldest_damaged
from .run_store import RunStore

log = logging.getLogger(__name__)

_COMPANION_SUFFIXES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside the database; inspecting a damaged one needs them."""
_MAGIC = b"SQLite format 3\0"
# None is an error of Python's sqlite3, such as for a text that is not UTF-8.
_DAMAGE = (None, sqlite_errors.ERROR, sqlite_errors.CORRUPT, sqlite_errors.NOTADB)


def open_rescued(data_dir: Path) -> tuple[RunStore, str | None]:
    """Open the history of ``data_dir``, repairing it first if needed.

    Returns the store, and a sentence on what was restored (None: nothing was). The caller must hold the DataLock.
    Raises StoreError if the folder cannot be used at all.
    """
    fault = damage(data_dir)
    aside = _set_aside(data_dir) if fault else None
    store = RunStore(data_dir)
    caught_up = _restore_outdated(store)
    restored, unread = _restore_missing(
        store, f"The history was damaged ({fault})" if fault else "The history did not know it"
    )
    store.keep_all()
    if caught_up:
        log.warning("%s.", caught_up)
    if not (aside or restored):
        return store, caught_up and f"{caught_up}."
    message = (
        f"{_runs(restored)} found again in {'its folder' if restored == 1 else 'their folders'}, as last written there"
    )
    if aside:
        message = f"The history was damaged ({fault}) and is kept as {aside}; a new one was begun, {message}"
    else:
        message = f"{message}: the history did not know {'it' if restored == 1 else 'them'}"
    if unread:
        message += (
            f"; {unread} of the folders under runs cannot be read and {'is' if unread == 1 else 'are'} left as found"
        )
    log.warning("%s.", message)
    return store, f"{message}." + (f" {caught_up}." if caught_up else "")


def damage(data_dir: Path) -> str | None:
    """What is wrong with the history, in a few words; None if it is intact, missing or unreadable."""
    try:
        with (data_dir / FILE).open("rb") as file:
            beginning = file.read(len(_MAGIC))
    except OSError:
        # Opening it for use reports the cause.
        return None
    # Checked here, because SQLite would delete the write-ahead log on close.
    if beginning not in (b"", _MAGIC):
        return "the file is not a database"
    try:
        with closing(open_history(data_dir)) as db:
            return _content_fault(db)
    except StoreError as error:
        return _damage_message(error.__cause__)
    except sqlite3.DatabaseError as error:
        return _damage_message(error)
    except ValueError:
        return "an entry is not what was written"


def _content_fault(db: sqlite3.Connection) -> str | None:
    """Check the pages, then their contents. Raises ValueError or sqlite3.DatabaseError if they cannot be read."""
    result = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    if result != "ok":
        return result.replace("\n", " ")
    for column in (
        "config FROM runs",
        "facts FROM runs",
        "tags FROM runs",
        "data FROM metrics",
        "data FROM evaluations",
    ):
        for row in db.execute(f"SELECT {column}"):
            json.loads(row[0])
    # Texts that are not UTF-8 fail when they are read.
    for table in ("runs", "events", "samples", "states"):
        for _ in db.execute(f"SELECT * FROM {table}"):
            pass
    return None


def _damage_message(error: BaseException | None) -> str | None:
    """SQLite's message if the error means damage; None for other causes, such as a lock or another version."""
    if not isinstance(error, sqlite3.DatabaseError):
        return None
    return str(error) if sqlite_errors.result_code(error) in _DAMAGE else None


def _set_aside(data_dir: Path) -> str:
    """Rename the history and the files beside it; returns the new name. Raises StoreError."""
    name = f"{FILE}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        for end in (*_COMPANION_SUFFIXES, ""):
            if (data_dir / f"{FILE}{end}").exists():
                (data_dir / f"{FILE}{end}").rename(data_dir / f"{name}{end}")
        remove_oldest_damaged(data_dir, f"{FILE}.damaged")
    except OSError as error:
        raise StoreError(
            f"The history in {data_dir} is damaged and cannot be put aside ({error.strerror}): "
            "see that the folder can be written to, or give another --data-dir."
        ) from error
    return name


def _restore_outdated(store: RunStore) -> str | None:
    """Restore the runs whose snapshot is newer than the history; returns a sentence without its full stop."""
    count = 0
    for run_id, revision in store.revisions().items():
        folder = store.data_dir / "runs" / run_id
        # For nearly all runs, reading the first line is enough.
        if snapshot.revision(folder) > revision and (saved := snapshot.read(folder)):
            store.enter_again(saved, "The history had lost its last entries; the run is as last written in its folder.")
            count += 1
    if not count:
        return None
    runs = "1 run has" if count == 1 else f"{count} runs have"
    folders = "its folder" if count == 1 else "their folders"
    return (
        f"The last entries of the history were lost (as with a damaged {FILE}-wal); {runs} been restored from {folders}"
    )


def _restore_missing(store: RunStore, why: str) -> tuple[int, int]:
    """Restore the runs that exist only as folders; returns the counts of restored runs and of unreadable folders."""
    ids, restored, unread = store.ids(), 0, 0
    for folder in sorted((store.data_dir / "runs").iterdir()):
        if folder.name in ids or not folder.is_dir():
            continue
        saved = snapshot.read(folder)
        if saved is None:
            unread += 1
        else:
            store.enter_again(saved, f"{why}; the run was found again in its folder, as last written there.")
            restored += 1
    return restored, unread


def _runs(count: int) -> str:
    return {0: "and no run was", 1: "1 run was"}.get(count, f"{count} runs were")
