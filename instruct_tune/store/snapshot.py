"""Snapshot of a run's history as one file in its folder; recovery restores the run from it if the history is lost."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..util import atomic_write
from ..util.hashing import sha256_of_text
from .schema import DEFAULTS, TABLES, insert

FILE = "run.jsonl"
"""Two lines: a header with the sha256 and revision of the second, and ``{table: rows}`` with the stored columns."""

Snapshot = dict[str, list[dict[str, Any]]]


def gather(db: sqlite3.Connection, run_id: str) -> dict[str, list[sqlite3.Row]]:
    """All rows of a run, by table, for ``write``."""
    rows = {"runs": db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchall()}
    for table in TABLES:
        rows[table] = db.execute(f"SELECT * FROM {table} WHERE run_id = ? ORDER BY seq", (run_id,)).fetchall()
    return rows


def write(rows: dict[str, list[sqlite3.Row]], folder: Path) -> None:
    """Write the gathered rows. A crash during the write keeps the previous file. Raises OSError."""
    # Row by row: encoding everything in one call would block all other threads.
    tables = (f'"{table}": [{", ".join(json.dumps(dict(row)) for row in records)}]' for table, records in rows.items())
    body = "{" + ", ".join(tables) + "}"
    seal = {"sha256": sha256_of_text(body), "revision": max((row["revision"] for row in rows["runs"]), default=0)}
    atomic_write.write_file(folder / FILE, json.dumps(seal) + "\n" + body + "\n")


def revision(folder: Path) -> int:
    """The run's revision in its snapshot; 0 if that cannot be read. Fast: reads the first line only."""
    try:
        with (folder / FILE).open(encoding="utf-8") as file:
            return int(json.loads(file.readline())["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def read(folder: Path) -> Snapshot | None:
    """The snapshot in a run's folder; None if it is missing, damaged or belongs to another run."""
    try:
        seal, body = (folder / FILE).read_text(encoding="utf-8").splitlines()
        tables = json.loads(body)
        ids = [row["id"] for row in tables["runs"]]
        intact = json.loads(seal)["sha256"] == sha256_of_text(body) and ids == [folder.name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tables if intact else None


def remove(folder: Path) -> None:
    """Delete the snapshot. Raises StoreError."""
    try:
        (folder / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be removed ({error.strerror}): see that it can be written to.") from error


def enter(db: sqlite3.Connection, saved: Snapshot) -> None:
    """Insert a snapshot's rows into a history without the run. Call it in a transaction."""
    for table in ("runs", *TABLES):
        # Names come from the history, not from the file. Each row gets a new ``seq``.
        columns = {column["name"] for column in db.execute(f"PRAGMA table_info({table})")} - {"seq"}
        defaults = DEFAULTS.get(table, {})
        insert(db, table, *({name: {**defaults, **row}[name] for name in columns} for row in saved[table]))
