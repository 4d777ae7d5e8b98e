"""The tables of the history, and how their rows are read and written."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

VERSION = 7
"""``PRAGMA user_version`` of a history with these tables. Raise it with every change of them."""

_SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, phase TEXT, message TEXT NOT NULL DEFAULT '',
    step INTEGER NOT NULL DEFAULT 0, total_steps INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL, ended REAL, config TEXT NOT NULL, error_kind TEXT, facts TEXT NOT NULL DEFAULT '{}',
    owner TEXT, binned REAL, started_by TEXT, parent TEXT, tags TEXT NOT NULL DEFAULT '[]',
    notes TEXT NOT NULL DEFAULT '', revision INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE metrics (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, kind TEXT NOT NULL, step INTEGER NOT NULL,
    epoch REAL NOT NULL, time REAL NOT NULL, data TEXT NOT NULL, UNIQUE (run_id, kind, step)
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, time REAL NOT NULL, text TEXT NOT NULL
);
CREATE INDEX events_of_run ON events (run_id, seq);
CREATE TABLE evaluations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, time REAL NOT NULL, data TEXT NOT NULL
);
CREATE INDEX evaluations_of_run ON evaluations (run_id, seq);
CREATE TABLE samples (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, step INTEGER NOT NULL, time REAL NOT NULL,
    text TEXT NOT NULL, ended INTEGER NOT NULL, prompt INTEGER NOT NULL DEFAULT 0, UNIQUE (run_id, step, prompt)
);
CREATE TABLE states (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, time REAL NOT NULL, status TEXT NOT NULL,
    phase TEXT, step INTEGER NOT NULL, reason TEXT NOT NULL, traceback TEXT
);
CREATE INDEX states_of_run ON states (run_id, seq);
"""

_MIGRATIONS = {
    # Runs had one prompt, so a step had one answer.
    6: """
ALTER TABLE samples RENAME TO former_samples;
CREATE TABLE samples (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, step INTEGER NOT NULL, time REAL NOT NULL,
    text TEXT NOT NULL, ended INTEGER NOT NULL, prompt INTEGER NOT NULL DEFAULT 0, UNIQUE (run_id, step, prompt)
);
INSERT INTO samples (seq, run_id, step, time, text, ended)
    SELECT seq, run_id, step, time, text, ended FROM former_samples;
DROP TABLE former_samples;
"""
}
"""Version → the statements that turn a history of that version into one of the next."""

DEFAULTS = {"samples": {"prompt": 0}}
"""Table → the values of columns that rows from before the column was added lack, as in a snapshot."""

TABLES = ("metrics", "events", "evaluations", "samples", "states")
"""The tables besides ``runs``; each has a ``run_id`` column."""


def create_tables(db: sqlite3.Connection) -> int:
    """Create the tables of a new history, or bring those of a known former version up to date, in one transaction.

    Returns the version of the history, which is another one than ``VERSION`` if it is unknown.
    """
    if _version(db) in (0, *_MIGRATIONS):
        # The connection commits on success and rolls back on an exception.
        with db:
            db.execute("BEGIN IMMEDIATE")
            # Read again inside the transaction: another process may have created or changed the tables.
            if _version(db) == 0:
                _execute(db, _SCHEMA, VERSION)
            while statements := _MIGRATIONS.get(_version(db)):
                _execute(db, statements, _version(db) + 1)
    return _version(db)


def _execute(db: sqlite3.Connection, statements: str, version: int) -> None:
    """Execute the statements one by one; ``executescript`` would commit the transaction first."""
    for statement in statements.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {version}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def insert(db: sqlite3.Connection, table: str, *rows: dict[str, Any]) -> None:
    """Insert rows that all have the same columns. Table and column names must never come from outside."""
    names = list(rows[0]) if rows else []
    query = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    if rows:
        db.executemany(query, [tuple(row[name] for name in names) for row in rows])


def as_columns(table: str, record: dict[str, Any]) -> dict[str, Any]:
    """A history row as stored: values without a column of their own go into ``data`` as JSON."""
    own = {"metrics": ("kind", "step", "epoch", "time"), "evaluations": ("time",)}.get(table)
    if own is None:
        return record
    rest = {name: value for name, value in record.items() if name not in own}
    return {**{name: record[name] for name in own}, "data": json.dumps(rest)}


def metric(row: sqlite3.Row) -> dict[str, Any]:
    """A stored metric as a dictionary: its columns, and the values of ``data`` beside them."""
    plain = {name: row[name] for name in ("seq", "kind", "step", "epoch", "time")}
    return {**plain, **json.loads(row["data"])}
