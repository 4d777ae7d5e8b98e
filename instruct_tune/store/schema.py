"""The tables of the history, and their migrations from older versions."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

# One script per version. The first creates only missing tables, so it is safe on histories from before versions were
# counted. Never change a released script: add another.
_MIGRATIONS = (
    """
    CREATE TABLE IF NOT EXISTS runs (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, phase TEXT, message TEXT NOT NULL DEFAULT '',
        step INTEGER NOT NULL DEFAULT 0, total_steps INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL, ended REAL, config TEXT NOT NULL, error_kind TEXT, facts TEXT NOT NULL DEFAULT '{}'
    );
    CREATE TABLE IF NOT EXISTS metrics (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, kind TEXT NOT NULL, step INTEGER NOT NULL,
        epoch REAL NOT NULL, time REAL NOT NULL, data TEXT NOT NULL, UNIQUE (run_id, kind, step)
    );
    CREATE TABLE IF NOT EXISTS events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, time REAL NOT NULL, text TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS evaluations (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, time REAL NOT NULL, data TEXT NOT NULL
    );
    """,
    """
    ALTER TABLE runs ADD COLUMN owner TEXT;
    ALTER TABLE runs ADD COLUMN binned REAL;
    CREATE TABLE samples (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, step INTEGER NOT NULL, time REAL NOT NULL,
        text TEXT NOT NULL, ended INTEGER NOT NULL, UNIQUE (run_id, step)
    );
    """,
    """
    ALTER TABLE runs ADD COLUMN started_by TEXT;
    """,
    """
    ALTER TABLE runs ADD COLUMN parent TEXT;
    CREATE TABLE states (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, time REAL NOT NULL, status TEXT NOT NULL,
        phase TEXT, step INTEGER NOT NULL, reason TEXT NOT NULL, traceback TEXT
    );
    CREATE INDEX states_of_run ON states (run_id, seq);
    """,
    """
    ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE runs ADD COLUMN notes TEXT NOT NULL DEFAULT '';
    """,
    """
    CREATE INDEX events_of_run ON events (run_id, seq);
    CREATE INDEX evaluations_of_run ON evaluations (run_id, seq);
    ALTER TABLE runs ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
    """,
)

TABLES = ("metrics", "events", "evaluations", "samples", "states")
"""The tables besides ``runs``; each has a ``run_id`` column."""


def migrate(db: sqlite3.Connection) -> None:
    """Apply the missing migrations in one transaction, one process at a time."""
    if _version(db) == len(_MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        # Read again inside the transaction: another process may have migrated. A newer version's history is left alone.
        for number, script in list(enumerate(_MIGRATIONS, start=1))[_version(db) :]:
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
    except sqlite3.DatabaseError:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


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
