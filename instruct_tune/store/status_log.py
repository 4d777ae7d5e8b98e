"""Log of every change of a run's status and phase: time, step and reason."""

from __future__ import annotations

import sqlite3
import time
from enum import Enum
from typing import Any

from .retention import forget_oldest


class StopReason(Enum):
    """Why a live run is stopped: its status afterwards, and the words that are shown for it."""

    STOP = ("stopped", "Stopped")
    PAUSE = ("stopped", "Paused")
    CLOSE = ("interrupted", "The lab was closed")

    @property
    def status(self) -> str:
        return self.value[0]

    @property
    def words(self) -> str:
        return self.value[1]


def note(db: sqlite3.Connection, run_id: str, reason: str, traceback: str | None = None) -> None:
    """Log the run's status and phase if they changed. Call it in a transaction."""
    run = db.execute("SELECT status, phase, step FROM runs WHERE id = ?", (run_id,)).fetchone()
    last = db.execute(
        "SELECT status, phase FROM states WHERE run_id = ? ORDER BY seq DESC LIMIT 1", (run_id,)
    ).fetchone()
    if run is None or (last is not None and tuple(last) == (run["status"], run["phase"])):
        return
    remark(db, run_id, reason, traceback)


def remark(db: sqlite3.Connection, run_id: str, reason: str, traceback: str | None = None) -> None:
    """Log the run's current status and phase, changed or not. Call it in a transaction."""
    run = db.execute("SELECT status, phase, step FROM runs WHERE id = ?", (run_id,)).fetchone()
    db.execute(
        "INSERT INTO states (run_id, time, status, phase, step, reason, traceback) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (run_id, time.time(), run["status"], run["phase"], run["step"], reason, traceback),
    )
    forget_oldest(db, "states", run_id)


def changes_of(row: sqlite3.Row) -> dict[str, Any]:
    """``{time, status, phase, step, reason}``; the traceback, not for every viewer, has its own reader."""
    return {name: row[name] for name in ("time", "status", "phase", "step", "reason")}
