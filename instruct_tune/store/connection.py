"""The history database: open or create it, and translate its errors into LabErrors."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DataError, DiskFullError, StoreError
from . import sqlite_errors
from .schema import VERSION, create_tables

FILE = "lab.sqlite"
# An exceeded quota or file size limit is reported as a full disk.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STORAGE_ERRORS = (
    sqlite_errors.BUSY, sqlite_errors.READONLY, sqlite_errors.IOERR, sqlite_errors.CORRUPT,
    sqlite_errors.CANTOPEN, sqlite_errors.NOTADB,
)  # fmt: skip


def open_history(data_dir: Path) -> sqlite3.Connection:
    """Open the history in ``data_dir``, or create it.

    Raises StoreError if it cannot be used, or if its tables are of another version.
    """
    file = data_dir / FILE
    try:
        db = sqlite3.connect(file, check_same_thread=False, timeout=10, isolation_level=None)
        db.row_factory = sqlite3.Row
        _use_wal(db)
        db.execute("PRAGMA synchronous=NORMAL")
        version = create_tables(db)
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"The history {file} cannot be used ({error}): start the lab on this folder, which puts a damaged "
            "one aside and begins another from the runs' folders; or give --data-dir."
        ) from error
    if version != VERSION:
        db.close()
        raise StoreError(
            f"The history {file} is of another version of the lab (its tables are version {version}, and this lab "
            f"reads version {VERSION}): start the lab that wrote it, or give another --data-dir."
        )
    return db


@contextmanager
def explained(data_dir: Path) -> Iterator[None]:
    """Turn disk errors, and texts that SQLite cannot store, into LabErrors. The lab's own bugs pass unchanged."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise DataError("A text holds half a character (a lone surrogate), which cannot be kept: remove it.") from error
    except sqlite3.DatabaseError as error:
        code = sqlite_errors.result_code(error)
        if code == sqlite_errors.FULL:
            raise DiskFullError.of(data_dir) from error
        if code not in _STORAGE_ERRORS:
            raise
        raise StoreError(
            f"The history in {data_dir} cannot be written or read any more ({error}): "
            "see that the folder is there, can be written to, and has room; then start the lab again."
        ) from error


def disk_error(error: OSError, data_dir: Path) -> StoreError:
    """The StoreError for a file of the data folder that cannot be written or read."""
    if error.errno in FULL:
        return DiskFullError.of(data_dir)
    return StoreError(
        f"The data folder {data_dir} cannot be used any more ({error.strerror or error}): see that it is there and can "
        "be written to, then try again."
    )


@contextmanager
def on_disk(data_dir: Path) -> Iterator[None]:
    """Turn OSErrors on files of the data folder into LabErrors."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, data_dir) from error


def _use_wal(db: sqlite3.Connection, patience: float = 10.0) -> None:
    """Switch to WAL, so that readers do not block on the writer. On some network file systems SQLite keeps its mode."""
    deadline = time.monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # SQLite's busy timeout does not cover this statement.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
