"""How much is kept of what a lab gathers by being used: beyond it the oldest goes.

The numbers of a run's steps all stay, for they are as many as its steps; all else that could grow for as long as
somebody clicks is bounded here, or where it is written (``base_answers``, ``unfinished``, ``converted``).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

MOST = {"states": 2000, "events": 2000, "evaluations": 20}
"""Rows of one run by table: its changes, what was said of it, its evaluations."""
MAX_DAMAGED = 3
"""Damaged histories kept beside the one in use."""


def forget_oldest(db: sqlite3.Connection, table: str, run_id: str) -> None:
    """Let go of what a run has too much of. Inside the transaction that wrote the newest."""
    oldest = f"SELECT seq FROM {table} WHERE run_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
    db.execute(f"DELETE FROM {table} WHERE run_id = ? AND seq <= ({oldest})", (run_id, run_id, MOST[table]))


def remove_predictions(folder: Path, kept: set[str]) -> None:
    """Of the files of predictions in a run's ``folder`` only those named in ``kept`` stay."""
    for file in folder.glob("predictions*.jsonl"):
        if file.name not in kept:
            file.unlink(missing_ok=True)


def remove_oldest_damaged(data_dir: Path, name: str) -> None:
    """Only the last histories that were put aside as ``name``-TIME stay, each with what belongs to it."""
    aside = sorted(path for path in data_dir.glob(f"{name}-*") if path.name[-1].isdigit())
    for old in aside[:-MAX_DAMAGED]:
        for file in data_dir.glob(f"{old.name}*"):
            file.unlink(missing_ok=True)
