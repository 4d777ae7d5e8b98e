"""Housekeeping: the trash is emptied, and what visitors leave behind is removed after a time.

Each piece of work fails alone, is logged, and is tried again in the next round.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from ..config.viewer import HOST
from ..data.upload_names import name_file
from ..store import disk_reserve
from ..store.archive import RunArchive
from ..store.clock import Clock
from ..store.run_store import RunStore
from ..util import atomic_write
from .access import Access
from .devices import Devices
from .quota import expires
from .rooms import Rooms
from .runs import TRASH_SECONDS
from .training import Training
from .uploads import Uploads, real_path

log = logging.getLogger(__name__)
HOUR = 3600.0


class Housekeeping:
    """Owns the thread that tidies the data folder.

    Args:
        archive: Where ended runs are copied to, if anywhere.
        keep_hours: How long uploads, private runs made of them, and visitors' runs are kept.
        closing: Set when the lab closes; ends the thread.
    """

    def __init__(
        self,
        store: RunStore,
        uploads: Uploads,
        access: Access,
        training: Training,
        devices: Devices,
        rooms: Rooms,
        clock: Clock,
        archive: RunArchive | None,
        keep_hours: int,
        closing: threading.Event,
    ):
        self._store, self._uploads, self._access, self._training = store, uploads, access, training
        self._devices, self._rooms, self._clock, self._archive = devices, rooms, clock, archive
        self._closing = closing
        self.keep_hours = keep_hours
        self._thread: threading.Thread | None = None

    def recover(self) -> None:
        """Finish what a former process left: half-written folders, runs that seem live, old runs in the trash."""
        disk_reserve.reserve(self._store.data_dir)
        for run_id in self._store.ids():
            folder = self._store.data_dir / "runs" / run_id
            attempt(partial(atomic_write.finish, folder), f"finish what run {run_id} was writing")
        self._store.interrupt_orphans()
        attempt(self.empty_trash, "empty the trash")

    def start(self) -> None:
        """Tidy on a thread of its own until the lab closes."""
        self._thread = threading.Thread(target=self._work, name="housekeeping", daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended; no longer than ``timeout``, for the archive may be slow."""
        if self._thread:
            self._thread.join(timeout)

    def empty_trash(self) -> None:
        """Delete for good the runs that have been in the trash for ``TRASH_SECONDS``."""
        if not self._clock.believed():
            return
        for run_id in self._store.trashed_ids(self._clock.now() - TRASH_SECONDS):
            attempt(partial(self._store.erase_trashed, run_id), f"delete run {run_id} for good")

    def remove_expired(self) -> None:
        """Remove uploads, private runs made of them, and what else visitors started where several people use the lab,
        once they are older than the host keeps them."""
        if not self._clock.believed():
            return
        oldest = self._clock.now() - HOUR * self.keep_hours
        runs = self._store.all()
        # A run that is being evaluated is removed in a later round.
        at_work = {job.about[1] for job in self._devices.jobs}
        for run in runs:
            if run.live or run.id in at_work or (run.ended or run.created) >= oldest:
                continue
            # A run that continues it has a copy of its adapter.
            if run.owner is not None:
                attempt(partial(self._training.delete, HOST, run.id), f"delete the private run {run.id}")
            elif self._access.multi_user and expires(run):
                attempt(partial(self._training.delete, HOST, run.id), f"delete the visitor's run {run.id}")
        sources = {real_path(run.config["data"]["source"]) for run in runs if run.live}
        in_use = sources | {name_file(source) for source in sources}
        for file in self._uploads.folder.rglob("*"):
            attempt(partial(_remove_if_old, file, oldest, in_use), f"remove the upload {file.name}")

    def update_archive(self) -> None:
        """Copy what has changed to the archive, where the host has named one."""
        if self._archive:
            attempt(partial(self._archive.update, self._store), "copy the runs to the archive")

    def finish_archive(self) -> None:
        """Before the history is closed: the copy of a run that was deleted since goes with it."""
        if self._archive:
            attempt(partial(self._archive.remove_deleted, self._store), "remove the copies of deleted runs")

    def _work(self) -> None:
        next_hourly = 0.0
        while True:
            attempt(self.empty_trash, "empty the trash")
            attempt(self._rooms.end_expired, "end the rooms whose time is over")
            self.update_archive()
            if time.monotonic() >= next_hourly:
                attempt(self.remove_expired, "look for old uploads")
                attempt(self._clock.remember, "write down the time")
                next_hourly = time.monotonic() + HOUR
            if self._closing.wait(TRASH_SECONDS / 12):
                return


def attempt(work: Callable[[], object], what: str) -> None:
    """Do one piece of work; where it fails, log ``what`` could not be done and why."""
    try:
        work()
    except Exception:
        # The thread's boundary: one file or run that resists must not end the housekeeping until a restart.
        log.exception("Housekeeping could not %s; it tries again in the next round.", what)


def _remove_if_old(file: Path, oldest: float, in_use: Collection[str]) -> None:
    """Remove a file written before ``oldest`` that no live run reads."""
    if file.is_file() and file.stat().st_mtime < oldest and os.path.realpath(file) not in in_use:
        file.unlink(missing_ok=True)
