"""The result code of an SQLite error, which Python's sqlite3 keeps from 3.11 on and 3.10 tells only by the message."""

from __future__ import annotations

import sqlite3

# https://sqlite.org/rescode.html
ERROR, BUSY, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB = 1, 5, 8, 10, 11, 13, 14, 26

CODES = {
    "database is locked": BUSY,
    "attempt to write a readonly database": READONLY,
    "disk I/O error": IOERR,
    "database disk image is malformed": CORRUPT,
    "database or disk is full": FULL,
    "unable to open database file": CANTOPEN,
    "file is not a database": NOTADB,
}


def result_code(error: sqlite3.Error) -> int | None:
    """The primary result code; None for an error of Python's own, such as for a text that is not UTF-8.

    On Python 3.10 it is None, too, for a wrong statement, whose message is its own.
    """
    code = getattr(error, "sqlite_errorcode", None)
    # The low byte is the primary code, the higher bytes the extended one.
    return CODES.get(str(error)) if code is None else code & 0xFF
