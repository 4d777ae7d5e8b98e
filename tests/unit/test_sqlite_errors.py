"""SQLite's result codes by the messages that Python 3.10 is left with, and by the codes that later ones keep."""

import sqlite3
import sys
from contextlib import closing

import pytest

from instruct_tune.store import sqlite_errors
from instruct_tune.store.sqlite_errors import CODES, result_code


def full(file):
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA max_page_count=2")
        db.execute("CREATE TABLE a AS SELECT randomblob(100000)")


def readonly(file):
    sqlite3.connect(file).close()
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        db.execute("CREATE TABLE a (b)")


def busy(file):
    with closing(sqlite3.connect(file)) as first, closing(sqlite3.connect(file, timeout=0)) as second:
        first.execute("BEGIN IMMEDIATE")
        second.execute("BEGIN IMMEDIATE")


def cannot_open(file):
    sqlite3.connect(file / "nowhere" / "lab.sqlite")


def not_a_database(file):
    file.write_bytes(b"something else " * 100)
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version")


def malformed(file):
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE a AS SELECT 1 AS b")
        db.commit()
    with file.open("r+b") as content:
        content.seek(4096)
        content.write(b"\xff" * 4096)
    with closing(sqlite3.connect(file)) as db:
        db.execute("SELECT * FROM a")


def wrong(file):
    with closing(sqlite3.connect(file)) as db:
        db.execute("SELECT * FROM nowhere")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (full, sqlite_errors.FULL),
        (readonly, sqlite_errors.READONLY),
        (busy, sqlite_errors.BUSY),
        (cannot_open, sqlite_errors.CANTOPEN),
        (not_a_database, sqlite_errors.NOTADB),
        (malformed, sqlite_errors.CORRUPT),
    ],
)
def test_trouble_with_the_file_has_the_code_that_its_message_tells(tmp_path, fault, code):
    with pytest.raises(sqlite3.DatabaseError) as caught:
        fault(tmp_path / "lab.sqlite")
    assert result_code(caught.value) == code
    assert CODES[str(caught.value)] == code


def test_a_wrong_statement_is_no_trouble_with_the_file(tmp_path):
    with pytest.raises(sqlite3.OperationalError) as caught:
        wrong(tmp_path / "lab.sqlite")
    assert result_code(caught.value) == (sqlite_errors.ERROR if sys.version_info >= (3, 11) else None)


def test_an_extended_code_is_that_of_its_kind():
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = sqlite_errors.IOERR | 3 << 8  # SQLITE_IOERR_WRITE
    assert result_code(error) == sqlite_errors.IOERR


def test_an_error_of_python_has_none():
    with closing(sqlite3.connect(":memory:")) as db, pytest.raises(sqlite3.OperationalError) as caught:
        db.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    assert result_code(caught.value) is None
