"""A history that is damaged or gone: kept aside, and begun anew from what the runs' folders tell.

Where only its log (``lab.sqlite-wal``) was damaged or lost, SQLite drops the last entries without a word:
runs whose folders know more than the history does are brought up to what is told there.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from ..errors import StoreError
from . import snapshot
from .connection import FILE, open_history
from .retention import remove_oldest_damaged
from .run_store import RunStore

log = logging.getLogger(__name__)

_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside its file, and needs if the damaged one is to be looked into."""
_BEGINNING = b"SQLite format 3\0"
_DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_rescued(data_dir: Path) -> tuple[RunStore, str | None]:
    """The history of ``data_dir``, and a sentence where it, or runs in it, had to be begun anew.

    For the holder of the lock only. Raises StoreError where the folder cannot be used at all.
    """
    wrong = damage(data_dir)
    aside = _set_aside(data_dir) if wrong else None
    store = RunStore(data_dir)
    behind = _catch_up(store)
    found, silent = _rebuild(store, f"The history was damaged ({wrong})" if wrong else "The history did not know it")
    store.keep_all()
    if behind:
        log.warning("%s.", behind)
    if not (aside or found):
        return store, behind and f"{behind}."
    said = f"{_runs(found)} found again in {'its folder' if found == 1 else 'their folders'}, as last written there"
    if aside:
        said = f"The history was damaged ({wrong}) and is kept as {aside}; a new one was begun, {said}"
    else:
        said = f"{said}: the history did not know {'it' if found == 1 else 'them'}"
    if silent:
        said += (
            f"; {silent} of the folders under runs cannot be read and {'is' if silent == 1 else 'are'} left as found"
        )
    log.warning("%s.", said)
    return store, f"{said}." + (f" {behind}." if behind else "")


def damage(data_dir: Path) -> str | None:
    """What is wrong with the history, in a few words; None where it is whole, not there, or out of reach."""
    try:
        with (data_dir / FILE).open("rb") as file:
            beginning = file.read(len(_BEGINNING))
    except OSError:
        # Whoever is about to use it says what is the matter.
        return None
    # Not left to SQLite, which would throw its log away on the way out.
    if beginning not in (b"", _BEGINNING):
        return "the file is not a database"
    try:
        with closing(open_history(data_dir)) as db:
            return _wrong_inside(db)
    except StoreError as error:
        return _words(error.__cause__)
    except sqlite3.DatabaseError as error:
        return _words(error)
    except ValueError:
        return "an entry is not what was written"


def _wrong_inside(db: sqlite3.Connection) -> str | None:
    """Pages first, then what is in them. Raises ValueError or sqlite3.DatabaseError where it cannot be read."""
    told = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    if told != "ok":
        return told.replace("\n", " ")
    for column in (
        "config FROM runs",
        "facts FROM runs",
        "tags FROM runs",
        "data FROM metrics",
        "data FROM evaluations",
    ):
        for row in db.execute(f"SELECT {column}"):
            json.loads(row[0])
    # Texts that are no UTF-8 show when they are read.
    for table in ("runs", "events", "samples", "states"):
        for _ in db.execute(f"SELECT * FROM {table}"):
            pass
    return None


def _words(error: BaseException | None) -> str | None:
    """What SQLite says of damage; None for what is no fault of the file's, as a lock or a full disk."""
    # An error of Python's own, as on a text that is no UTF-8, has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return str(error) if code in _DAMAGE else None


def _set_aside(data_dir: Path) -> str:
    """Rename the history and what belongs to it; returns its new name. Raises StoreError."""
    name = f"{FILE}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        for end in (*_BESIDE, ""):
            if (data_dir / f"{FILE}{end}").exists():
                (data_dir / f"{FILE}{end}").rename(data_dir / f"{name}{end}")
        remove_oldest_damaged(data_dir, f"{FILE}.damaged")
    except OSError as error:
        raise StoreError(
            f"The history in {data_dir} is damaged and cannot be put aside ({error.strerror}): "
            "see that the folder can be written to, or give another --data-dir."
        ) from error
    return name


def _catch_up(store: RunStore) -> str | None:
    """Enter anew the runs whose folders know more than the history; a sentence about that, without its full stop."""
    behind = 0
    for run_id, known in store.revisions().items():
        folder = store.data_dir / "runs" / run_id
        # The first line is enough for nearly all.
        if snapshot.revision(folder) > known and (told := snapshot.read(folder)):
            store.enter_again(told, "The history had lost its last entries; the run is as last written in its folder.")
            behind += 1
    if not behind:
        return None
    has = "1 run has" if behind == 1 else f"{behind} runs have"
    where = "its folder" if behind == 1 else "their folders"
    return f"The last entries of the history were lost (as with a damaged {FILE}-wal); {has} been restored from {where}"


def _rebuild(store: RunStore, why: str) -> tuple[int, int]:
    """Enter the runs that only their folders know; returns how many, and how many folders tell nothing."""
    known, found, silent = store.ids(), 0, 0
    for folder in sorted((store.data_dir / "runs").iterdir()):
        if folder.name in known or not folder.is_dir():
            continue
        told = snapshot.read(folder)
        if told is None:
            silent += 1
        else:
            store.enter_again(told, f"{why}; the run was found again in its folder, as last written there.")
            found += 1
    return found, silent


def _runs(count: int) -> str:
    return {0: "and no run was", 1: "1 run was"}.get(count, f"{count} runs were")
