"""A run's history once more, as one file in its folder: from there it is found again where the history is lost."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..util import atomic_write
from .schema import TABLES

FILE = "run.jsonl"
"""Two lines: sha256 and revision of the second, and the second: ``{table: rows}`` with the columns as stored."""
NOBODY = "nobody"
"""The owner of a run whose owner is not known any more: the hash of no secret, so that only the host sees it."""

Snapshot = dict[str, list[dict[str, Any]]]


def gather(db: sqlite3.Connection, run_id: str) -> dict[str, list[sqlite3.Row]]:
    """What the history knows of a run, by table, for ``write``."""
    told = {"runs": db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchall()}
    for table in TABLES:
        told[table] = db.execute(f"SELECT * FROM {table} WHERE run_id = ? ORDER BY seq", (run_id,)).fetchall()
    return told


def write(rows: dict[str, list[sqlite3.Row]], folder: Path) -> None:
    """Put down what was gathered. Whoever is killed in here leaves the former file. Raises OSError."""
    # Row by row: encoding all at once would stop every other thread for as long as it takes.
    tables = (f'"{table}": [{", ".join(json.dumps(dict(row)) for row in found)}]' for table, found in rows.items())
    body = "{" + ", ".join(tables) + "}"
    seal = {"sha256": _sha256(body), "revision": max((row["revision"] for row in rows["runs"]), default=0)}
    atomic_write.write_file(folder / FILE, json.dumps(seal) + "\n" + body + "\n")


def revision(folder: Path) -> int:
    """How often the run had become another when its folder was told; 0 where that cannot be read. Quick."""
    try:
        with (folder / FILE).open(encoding="utf-8") as file:
            return int(json.loads(file.readline())["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def read(folder: Path) -> Snapshot | None:
    """What the file in a run's folder tells; None where it is missing, not what was written, or another run's."""
    try:
        seal, body = (folder / FILE).read_text(encoding="utf-8").splitlines()
        told = json.loads(body)
        whole = json.loads(seal)["sha256"] == _sha256(body) and [row["id"] for row in told["runs"]] == [folder.name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if whole else None


def remove(folder: Path) -> None:
    """The folder tells nothing any more. Raises StoreError."""
    try:
        (folder / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be removed ({error.strerror}): see that it can be written to.") from error


def enter(db: sqlite3.Connection, told: Snapshot) -> None:
    """Write it into a history that does not have the run. Inside a transaction."""
    for table in ("runs", *TABLES):
        known = {column["name"] for column in db.execute(f"PRAGMA table_info({table})")} - {"seq"}
        for row in told.get(table, []):
            # Another version of the lab may have written other columns.
            values = {name: value for name, value in row.items() if name in known}
            if table == "runs":
                values = {"owner": NOBODY, **values}
            marks = ", ".join("?" * len(values))
            db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
