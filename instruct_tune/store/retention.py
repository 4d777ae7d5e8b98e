"""Retention limits: beyond them the oldest rows and files are removed.

A run's step metrics are all kept, because their number is bounded by its steps. Everything else that grows with use is
bounded here, or where it is written (``evaluation.answer_cache``, ``pretrained.converted_cache``).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

MOST = {"states": 2000, "events": 2000, "evaluations": 20}
"""Maximum rows per run and table: status changes, events, evaluations."""
MAX_DAMAGED = 3
"""Damaged histories that are kept beside the current one."""


def forget_oldest(db: sqlite3.Connection, table: str, run_id: str) -> None:
    """Delete a run's oldest rows beyond ``MOST``. Call it in the transaction that wrote the newest row."""
    oldest = f"SELECT seq FROM {table} WHERE run_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
    db.execute(f"DELETE FROM {table} WHERE run_id = ? AND seq <= ({oldest})", (run_id, run_id, MOST[table]))


def remove_predictions(folder: Path, kept: set[str]) -> None:
    """Delete the prediction files in a run's ``folder`` except those named in ``kept``."""
    for file in folder.glob("predictions*.jsonl"):
        if file.name not in kept:
            file.unlink(missing_ok=True)


def remove_oldest_damaged(data_dir: Path, name: str) -> None:
    """Delete the histories set aside as ``name``-TIME, with their companion files, except the last ``MAX_DAMAGED``."""
    aside = sorted(path for path in data_dir.glob(f"{name}-*") if path.name[-1].isdigit())
    for old in aside[:-MAX_DAMAGED]:
        for file in data_dir.glob(f"{old.name}*"):
            file.unlink(missing_ok=True)
