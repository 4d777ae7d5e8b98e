"""The run store: runs, metrics and events in SQLite, and one folder per run beside the database.

The page and the command line read from here; no state of a run lives only in a browser tab or a thread. A metric is
keyed by (run, kind, step). A step repeated after a resume replaces the old row under a new, greater ``seq``, so
readers that query "after seq" get the newer one.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from ..errors import BusyError, NotFoundError, StoreError
from . import snapshot, status_log
from .connection import FILE, on_disk
from .history import History
from .lock import make_folder
from .retention import forget_oldest
from .run import LISTED_COLUMNS, LIVE, Run, listed_run, row_of, run_of
from .schema import TABLES, as_columns, insert, metric

log = logging.getLogger(__name__)
_NEXT_REVISION = "revision = revision + 1"
"""Recovery compares revisions to detect that a run's snapshot is newer than a history that lost its last entries."""
_SNAPSHOT_FIELDS = {"status", "name", "owner", "binned", "tags", "notes"}
"""A change of any of these fields rewrites the run's snapshot; so does every checkpoint."""


class RunStore:
    """All reads and writes of the history. Thread-safe."""

    def __init__(self, data_dir: Path):
        self.data_dir = data_dir
        make_folder(data_dir / "runs")
        self._snapshot_lock = threading.Lock()
        self._history = History(data_dir)
        self._identity = self._file_id()

    def close(self) -> None:
        self._history.close()

    def read_cache(self) -> AbstractContextManager[None]:
        """Inside this block, this thread runs each query once. ``version`` is read first, so no result is older."""
        return self._history.read_cache()

    def require_folder(self) -> None:
        """Raise StoreError if the data folder was deleted, moved or replaced, because writes would be lost."""
        if self._file_id() != self._identity:
            raise StoreError(
                f"The data folder {self.data_dir} is gone, or is another one now: put it back and try again, or start "
                "the lab anew."
            )

    def _file_id(self) -> tuple[int, int] | None:
        try:
            stat = (self.data_dir / FILE).stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def folder(self, run_id: str) -> Path:
        """The folder of an existing run. The path uses the stored id, never text from outside."""
        return self.data_dir / "runs" / self.get(run_id).id

    # Runs

    def create(
        self,
        name: str,
        config: dict[str, Any],
        owner: str | None = None,
        started_by: str | None = None,
        parent: Run | None = None,
    ) -> Run:
        """Create a queued run and its folder. With a ``parent``, training starts from the parent's adapter."""
        run_id = self.new_id()
        row = {"id": run_id, "name": name or run_id, "status": "queued", "created": time.time()}
        owned = {"owner": owner, "started_by": started_by, "parent": parent.id if parent else None}
        # In the provenance too, because the parent may be deleted later.
        step = parent.adapter_step if parent else 0
        provenance = {"parent": {"id": parent.id, "name": parent.name, "step": step}} if parent else {}
        with self._history.writing() as db:
            insert(db, "runs", {**row, "config": json.dumps(config), "facts": json.dumps(provenance), **owned})
            status_log.note(db, run_id, f"Accepted; it goes on from {parent.name}." if parent else "Accepted.")
        self._write_snapshot(run_id)
        return self.get(run_id)

    def new_id(self) -> str:
        """Reserve a free id by creating its folder; mkdir is atomic, so concurrent callers get different ids."""
        self.require_folder()
        while True:
            run_id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
            with on_disk(self.data_dir), suppress(FileExistsError):
                (self.data_dir / "runs" / run_id).mkdir()
                return run_id

    def enter(self, run: Run, **history: list[dict[str, Any]]) -> None:
        """Insert a run from elsewhere: its row, and ``history`` by table, in the given order.

        Each history row has the form that the method reading its table returns. The caller fills the folder.
        """
        # Before taking the lock, because there may be many rows.
        row = row_of(run)
        rows = {
            table: [{"run_id": run.id, **as_columns(table, each)} for each in records]
            for table, records in history.items()
        }
        with self._history.writing() as db:
            insert(db, "runs", row)
            for table, each in rows.items():
                insert(db, table, *each)
        self._write_snapshot(run.id)

    def enter_again(self, saved: snapshot.Snapshot, reason: str) -> None:
        """Replace a run's rows with those of its snapshot; ``reason`` goes into its status log."""
        run_id = saved["runs"][0]["id"]
        with self._history.writing() as db:
            _delete_rows(db, run_id)
            snapshot.enter(db, saved)
            status_log.remark(db, run_id, reason)
        self._write_snapshot(run_id)

    def keep_all(self) -> None:
        """Write the snapshots that are missing, as after a crash in ``enter``. The caller must hold the DataLock."""
        for run_id in self.ids():
            if not (self.data_dir / "runs" / run_id / snapshot.FILE).is_file():
                self._write_snapshot(run_id)

    def ids(self) -> set[str]:
        """The ids of all runs, including those in the trash."""
        return set(self.revisions())

    def revisions(self) -> dict[str, int]:
        """Number of changes to each run's row, by id, including runs in the trash."""
        return {row["id"]: row["revision"] for row in self._history.read("SELECT id, revision FROM runs")}

    def get(self, run_id: str) -> Run:
        """The run of that id. Raises NotFoundError if it does not exist or is in the trash."""
        rows = self._history.read("SELECT * FROM runs WHERE id = ? AND binned IS NULL", (_as_id(run_id),))
        if not rows:
            raise NotFoundError.of(run_id)
        return self._history.once(("run", run_id), lambda: run_of(rows[0]))

    def has(self, run_id: str | None) -> bool:
        """Whether the run exists and is not in the trash; another viewer may have deleted it."""
        query = "SELECT 1 FROM runs WHERE id = ? AND binned IS NULL"
        return bool(run_id) and bool(self._history.read(query, (_as_id(run_id),)))

    def all(self) -> list[Run]:
        """All runs except those in the trash, newest first."""
        query = "SELECT * FROM runs WHERE binned IS NULL ORDER BY created DESC, id DESC"
        return [run_of(row) for row in self._history.read(query)]

    def listed(self) -> list[Run]:
        """``all``, with only the parts of config and provenance that the list of runs shows.

        Both can be large in an imported run, and they are read while other threads wait for the lock.
        """
        query = f"SELECT {LISTED_COLUMNS} FROM runs WHERE binned IS NULL ORDER BY created DESC, id DESC"
        return [listed_run(row) for row in self._history.read(query)]

    def owners(self) -> dict[str, str | None]:
        """The owner of each run (None: everyone sees it), by id, without runs in the trash."""
        rows = self._history.read("SELECT id, owner FROM runs WHERE binned IS NULL")
        return {row["id"]: row["owner"] for row in rows}

    def version(self) -> tuple[int, int]:
        """A value that changes with every write, by this process or another."""
        return self._history.version()

    def update(self, run_id: str, *, reason: str = "", traceback: str | None = None, **fields: Any) -> None:
        """Set columns of a run; ``provenance`` is merged into the stored one.

        A change of status or phase is logged with ``reason``, or with the new message if there is none.
        """
        with self._history.writing() as db:
            if "provenance" in fields:
                fields["facts"] = json.dumps({**self.get(run_id).provenance, **fields.pop("provenance")})
            columns = ", ".join(f"{name} = ?" for name in fields)
            db.execute(f"UPDATE runs SET {columns}, {_NEXT_REVISION} WHERE id = ?", (*fields.values(), run_id))
            if "status" in fields or "phase" in fields:
                status_log.note(db, run_id, reason or fields.get("message", ""), traceback)
        # A run that trains has its snapshot with each checkpoint.
        ended = "facts" in fields and self.get(run_id).ended is not None
        if ended or fields.keys() & _SNAPSHOT_FIELDS or fields.get("phase") == "saving":
            self._write_snapshot(run_id)

    def mark_stopping(self, run_id: str, reason: str = "A stop was asked for.") -> bool:
        """Mark a live run as stopping; False if it has already ended."""
        self.get(run_id)
        with self._history.writing() as db:
            query = f"UPDATE runs SET status = 'stopping', {_NEXT_REVISION} WHERE id = ? AND status IN (?, ?, ?)"
            marked = db.execute(query, (run_id, *LIVE)).rowcount == 1
            if marked:
                status_log.note(db, run_id, reason)
        self._write_snapshot(run_id)
        return marked

    def changes(self, run_id: str) -> list[dict[str, Any]]:
        """Every change of status and phase, oldest first: ``{time, status, phase, step, reason}``."""
        rows = self._history.read("SELECT * FROM states WHERE run_id = ? ORDER BY seq", (run_id,))
        return [status_log.changes_of(row) for row in rows]

    def traceback(self, run_id: str) -> str | None:
        """The traceback of the run's last failure; None if it never failed."""
        query = "SELECT traceback FROM states WHERE run_id = ? AND traceback IS NOT NULL ORDER BY seq DESC LIMIT 1"
        return next((row["traceback"] for row in self._history.read(query, (run_id,))), None)

    def delete(self, run_id: str) -> None:
        """Delete a run that is not live, its rows and its folder. Raises BusyError for a live one."""
        self._erase(self._ended(run_id).id)

    def discard(self, run_id: str) -> None:
        """Delete a run that never began, in one write."""
        self._erase(self.get(run_id).id)

    def trash(self, run_id: str, at: float | None = None) -> None:
        """Move a run that is not live to the trash: hidden from everyone until ``restore``. Raises BusyError.

        ``at``: the time to store (seconds since the epoch), by default now.
        """
        run, moved_at = self._ended(run_id), time.time() if at is None else at
        with self._history.writing() as db:
            # In one statement: the run may be resumed at this moment.
            query = f"UPDATE runs SET binned = ?, {_NEXT_REVISION} WHERE id = ? AND status NOT IN (?, ?, ?)"
            moved = db.execute(query, (moved_at, run.id, *LIVE)).rowcount == 1
        if not moved:
            raise self._still_live(self.get(run_id))
        self._write_snapshot(run_id)

    def restore(self, run_id: str) -> None:
        """Move a run out of the trash. Raises NotFoundError if the trash was emptied."""
        with self._history.writing() as db:
            query = f"UPDATE runs SET binned = NULL, {_NEXT_REVISION} WHERE id = ? AND binned IS NOT NULL"
            if not db.execute(query, (_as_id(run_id),)).rowcount:
                raise NotFoundError("The bin has been emptied: this run is gone.")
        self._write_snapshot(str(run_id))

    def get_trashed(self, run_id: str) -> Run:
        """A run in the trash. Raises NotFoundError if the trash was emptied."""
        rows = self._history.read("SELECT * FROM runs WHERE id = ? AND binned IS NOT NULL", (_as_id(run_id),))
        if not rows:
            raise NotFoundError("The bin has been emptied: this run is gone.")
        return run_of(rows[0])

    def trashed(self) -> list[Run]:
        """All runs in the trash, the last deleted first."""
        query = "SELECT * FROM runs WHERE binned IS NOT NULL ORDER BY binned DESC"
        return [run_of(row) for row in self._history.read(query)]

    def trashed_ids(self, before: float) -> list[str]:
        """Ids of the runs moved to the trash at ``before`` (seconds since the epoch) or earlier."""
        return [row["id"] for row in self._history.read("SELECT id FROM runs WHERE binned <= ?", (before,))]

    def erase_trashed(self, run_id: str) -> None:
        """Delete a run in the trash permanently. Raises NotFoundError if it is no longer there."""
        self._erase(self.get_trashed(run_id).id)

    def _ended(self, run_id: str) -> Run:
        run = self.get(run_id)
        if run.live:
            raise self._still_live(run)
        return run

    def _still_live(self, run: Run) -> BusyError:
        return BusyError(f"Run {run.name} is {run.status}: stop it before deleting it.")

    def _erase(self, run_id: str) -> None:
        """Delete a run's rows and its folder; ``run_id`` must come from the store."""
        # The snapshot first: after a crash between the two, the next start would restore the run from it.
        snapshot.remove(self.data_dir / "runs" / run_id)
        with self._history.writing() as db:
            _delete_rows(db, run_id)
        shutil.rmtree(self.data_dir / "runs" / run_id, ignore_errors=True)

    def interrupt_orphans(self) -> list[str]:
        """Mark the live runs of an ended process as interrupted; returns their ids. The caller holds the DataLock."""
        orphans = [run for run in self.all() if run.live]
        for run in orphans:
            message = f"The lab's process ended at step {run.step}; the run can be resumed."
            self.update(run.id, status="interrupted", phase=None, ended=time.time(), message=message)
            self.add_event(run.id, message)
        return [run.id for run in orphans]

    # Metrics, events, evaluations

    def add_metric(self, run_id: str, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        """Store one metric, in place of one of the same run, kind and step."""
        with self._history.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO metrics (run_id, kind, step, epoch, time, data) VALUES (?, ?, ?, ?, ?, ?)",
                (run_id, kind, step, epoch, time.time(), json.dumps(values)),
            )

    def metrics(self, run_id: str, after: int = 0, kind: str | None = None) -> list[dict[str, Any]]:
        """Metrics with ``seq`` > ``after``, in that order: ``{seq, kind, step, epoch, time, …values}``.

        ``kind`` filters.
        """
        query, values = "SELECT * FROM metrics WHERE run_id = ? AND seq > ?", [run_id, after]
        if kind is not None:
            query, values = query + " AND kind = ?", [*values, kind]
        return [metric(row) for row in self._history.read(query + " ORDER BY seq", tuple(values))]

    def last_metrics(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The newest metric of each kind, without reading all of the run's metrics."""
        newest = "SELECT MAX(seq) FROM metrics WHERE run_id = ? GROUP BY kind"
        rows = self._history.read(f"SELECT * FROM metrics WHERE seq IN ({newest}) ORDER BY seq", (run_id,))
        return {row["kind"]: metric(row) for row in rows}

    def last_metric(self, run_id: str, kind: str) -> dict[str, Any] | None:
        """The values of the metric of that kind with the greatest step; None if there is none."""
        query = "SELECT data FROM metrics WHERE run_id = ? AND kind = ? ORDER BY step DESC LIMIT 1"
        return next((json.loads(row["data"]) for row in self._history.read(query, (run_id, kind))), None)

    def forget_metrics_after(self, run_id: str, step: int) -> None:
        """Delete metrics and samples after the checkpoint that a run resumes from; those steps are repeated."""
        with self._history.writing() as db:
            for table in ("metrics", "samples"):
                db.execute(f"DELETE FROM {table} WHERE run_id = ? AND step > ?", (run_id, step))

    def add_samples(self, run_id: str, step: int, answers: Sequence[tuple[str, bool]]) -> None:
        """Store the answers to the run's fixed prompts after ``step`` steps, in the order of the prompts.

        Each answer is (text, whether it ended before the token limit). Those of an earlier time at that step are
        replaced.
        """
        now = time.time()
        with self._history.writing() as db:
            db.execute("DELETE FROM samples WHERE run_id = ? AND step = ?", (run_id, step))
            rows = ({"prompt": number, "text": text, "ended": ended} for number, (text, ended) in enumerate(answers))
            insert(db, "samples", *({"run_id": run_id, "step": step, "time": now, **row} for row in rows))

    def samples(self, run_id: str) -> list[dict[str, Any]]:
        """The answers to the fixed prompts, by step and prompt: ``{step, time, prompt, text, ended}``."""
        columns = "step, time, prompt, text, ended"
        rows = self._history.read(f"SELECT {columns} FROM samples WHERE run_id = ? ORDER BY step, prompt", (run_id,))
        return [{**dict(row), "ended": bool(row["ended"])} for row in rows]

    def add_event(self, run_id: str, text: str) -> None:
        with self._history.writing() as db:
            insert(db, "events", {"run_id": run_id, "time": time.time(), "text": text})
            forget_oldest(db, "events", run_id)

    def events(self, run_id: str, last: int = 200) -> list[dict[str, Any]]:
        """The last ``last`` events, oldest first: ``{time, text}``."""
        rows = self._history.read("SELECT * FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT ?", (run_id, last))
        return [{"time": row["time"], "text": row["text"]} for row in reversed(rows)]

    def add_evaluation(self, run_id: str, data: dict[str, Any]) -> None:
        with self._history.writing() as db:
            insert(db, "evaluations", {"run_id": run_id, "time": time.time(), "data": json.dumps(data)})
            forget_oldest(db, "evaluations", run_id)
            db.execute(f"UPDATE runs SET {_NEXT_REVISION} WHERE id = ?", (run_id,))
        self._write_snapshot(run_id)

    def evaluations(self, run_id: str) -> list[dict[str, Any]]:
        """All evaluations of a run, newest first: their JSON, ``time`` and ``seq``."""
        rows = self._history.read("SELECT * FROM evaluations WHERE run_id = ? ORDER BY seq DESC", (run_id,))
        return [{**json.loads(row["data"]), "time": row["time"], "seq": row["seq"]} for row in rows]

    def last_evaluations(self) -> dict[str, dict[str, Any]]:
        """The last evaluation of each run that has one, by run id."""
        rows = self._history.read("SELECT run_id, data, MAX(seq) FROM evaluations GROUP BY run_id")
        return {row["run_id"]: json.loads(row["data"]) for row in rows}

    def _write_snapshot(self, run_id: str) -> None:
        """Write the run's snapshot. A failed write is only logged, because the database has the data."""
        folder = self.data_dir / "runs" / run_id
        try:
            # A run may have many metrics; they are serialised outside the database lock, so that reads go on.
            with self._snapshot_lock:
                with self._history.reading() as db:
                    rows = snapshot.gather(db, run_id)
                snapshot.write(rows, folder)
        except OSError as error:
            log.warning("The history of run %s cannot be kept in its folder too: %s.", run_id, error.strerror)


def _as_id(run_id: Any) -> str:
    """The id as a query parameter; "", which no run has, for a value that cannot be an id."""
    return run_id if isinstance(run_id, str) and run_id.isascii() else ""


def _delete_rows(db: sqlite3.Connection, run_id: str) -> None:
    for table in TABLES:
        db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
