"""Runs: start, stop, resume, rename, share, delete. One trains at a time; the others wait for their turn."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.environment import whole_number
from ..config.run_config import RunConfig
from ..config.viewer import HOST, Viewer, Visitors, multi_user
from ..errors import BusyError, DataError, NotFoundError, NotYoursError, StoreError
from ..export import import_run as incoming
from ..export.machine_paths import source_to_share
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..pretrained.locate import LOCAL_FOLDER
from ..runs import continuation
from ..runs.annotations import read_name, read_notes, read_tags
from ..runs.diagnostics import Diagnoses
from ..runs.examples import put_recorded, recorded_on
from ..store.clock import Clock
from ..store.connection import on_disk
from ..store.disk_usage import DiskUse, folder_bytes
from ..store.lock import DataLock
from ..store.recovery import open_rescued
from ..store.run_store import Run, RunStore, default_data_dir
from ..store.status_log import Leave
from ..util import atomic_write
from .datasets import Config, real_path
from .housekeeping import attempt
from .job_queue import Turn
from .quota import EXPIRES, Quota, expires
from .runs import History

if TYPE_CHECKING:
    from .training_job import Runner

TRAINING = "run"
"""A turn that trains is about ``(TRAINING, run_id)``."""


_ASKED = {Leave.STOP: "It was asked to stop.", Leave.PAUSE: "It was asked to pause."}

BIN_SECONDS = 3600.0
"""How long a deleted run can be brought back."""


class Runs(History):
    """The part of the lab that trains, over one data folder.

    ``writing`` takes the folder's lock and marks what a former process left as interrupted; without
    it the lab only reads. ``viewer`` is who asks, everywhere.
    """

    def __init__(self, data_dir: Path | None = None, *, writing: bool = True, local_paths: bool | None = None):
        super().__init__(data_dir or default_data_dir(), local_paths)
        # Before the folder's lock is taken: a variable that is wrong leaves nothing locked.
        self.keep_uploads_hours = whole_number("LAB_KEEP_UPLOADS_HOURS", 24 if "SPACE_ID" in os.environ else 168)
        self._lock = DataLock(self.data_dir) if writing else None
        self.store, self.notice = open_rescued(self.data_dir) if writing else (RunStore(self.data_dir), None)
        self.diagnoses = Diagnoses(self.store)
        self.visitors = Visitors(os.environ.get("LAB_ADMIN_TOKEN"))
        # With a machine of one's own there are no strangers to keep from one's runs.
        self.strangers = multi_user()
        self.clock = Clock(self.data_dir / "clock", most=3600.0 * self.keep_uploads_hours)
        # A Space's disk starts empty at every restart; storage that stays is a mount of its own.
        self.forgets = "SPACE_ID" in os.environ and not _on_a_mount(self.data_dir)
        self._bench: Any = None
        self._runner: Runner | None = None
        self._turns: dict[str, Turn] = {}
        self._leave_asked: dict[str, Leave] = {}
        self._discard: set[str] = set()
        self._closing = threading.Event()
        self._closed = False
        self.disk = DiskUse(self.data_dir / "runs")
        self.quota = Quota(self.store, self.uploads, self.keep_uploads_hours)
        self._emptying: threading.Thread | None = None
        self._emptying_begins = threading.Lock()
        self._resuming = threading.Lock()
        if writing:
            self.store.keep_room()
            for run_id in self.store.ids():
                attempt(
                    partial(atomic_write.finish, self.data_dir / "runs" / run_id),
                    f"finish what run {run_id} was writing",
                )
            self.store.interrupt_orphans()
            attempt(lambda: self._empty_bin(before=math.inf), "empty the bin")

    def leave(self) -> None:
        """Ask everything at work to leave, and take nothing on any more; does not wait for it."""
        if self._closing.is_set():
            return
        self._closing.set()
        self.stop_loading()
        left = self.engine.close()
        for turn in left:
            kind, run_id = turn.about
            if kind == TRAINING:
                self._end_unbegun(run_id, "interrupted", "The lab was closed before the run began; it can be resumed.")
        if self._lock:
            # A run that has not begun yet finds its stop when it does.
            self._leave_asked |= {run.id: Leave.CLOSE for run in self.store.all() if run.live}
        if runner := self._runner:
            runner.ask_to_leave(Leave.CLOSE)

    def close(self, timeout: float = 60.0) -> None:
        """Stop what is running, keep its adapter, and let go of the data folder. What is not done can be resumed."""
        if self._closed:
            return
        self._closed = True
        self.leave()
        with self._emptying_begins:
            if self._emptying:
                self._emptying.join()
        self.engine.join(timeout)
        self.store.close()
        if self._lock:
            self._lock.release()

    # Starting and waiting

    def start_run(self, config: Config, name: str = "", viewer: Viewer = HOST, parent: str | None = None) -> str:
        """Accept a run, which begins when its turn comes. Raises BusyError where too many wait.

        A run made of an upload is its uploader's alone until they share it. With ``parent`` it begins with that
        run's adapter, and what ``config`` does not say is the parent's; see ``parents`` for what is refused.
        """
        before = self.visible_run(parent, viewer) if parent else None
        if before and not isinstance(config, RunConfig):
            config = continuation.config_after(before, config)
        config = self.config(config, viewer)
        name = read_name(name)
        self.engine.refuse_when_full(asker(viewer))
        self._require_room(viewer, folder_bytes(self.store.folder(before.id) / "adapter") if before else 0)
        if before:
            continuation.insist_on_fit(before, config, self.store.folder(before.id) / "adapter")
        owner = self.upload_owner(config.data.source) or (before.owner if before else None)
        run = self.store.create(name, config.to_dict(), owner, viewer.id, before)
        if before:
            self._hand_down(before, run)
            self.store.update(run.id, facts=continuation.inherited_facts(before, config))
        if self._has_quota(viewer):
            self.store.update(run.id, facts={EXPIRES: True})
        run = self.store.get(run.id)
        self._launch(run, resume=False, viewer=viewer)
        return run.id

    def _hand_down(self, parent: Run, child: Run) -> None:
        try:
            continuation.hand_down(self.store.folder(parent.id) / "adapter", self.store.folder(child.id))
        except (OSError, NotFoundError) as error:
            self._undo_start(child.id)
            raise StoreError(f"The adapter of run {parent.name} cannot be copied: {error}. Start it again.") from error

    def _undo_start(self, run_id: str) -> None:
        """A run that never began leaves no trace."""
        self.store.update(run_id, status="failed")
        self.store.delete(run_id)

    def resume_run(self, run_id: str, viewer: Viewer = HOST) -> str:
        """Go on with a run that was stopped, interrupted or failed, from its last checkpoint."""
        run = self.changeable_run(run_id, viewer, "resume")
        self._require_room(viewer)
        # Before it counts as live: another version of the lab may have left it.
        self.config(run.config)
        with self._resuming:
            # Asked again: a page and a script may both have found it stopped.
            run = self.store.get(run.id)
            if not run.ended_early:
                raise BusyError(f"Run {run.name} is {run.status}: only one that ended early can be resumed.")
            self._launch(run, resume=True, viewer=viewer)
        return run.id

    def _launch(self, run: Run, resume: bool, viewer: Viewer) -> None:
        def job() -> None:
            self.wait_for_imports()
            from .training_job import Runner

            self.store.keep_room()
            runner = Runner(run, self.store, self.bench, self.engine)
            self._runner = runner
            if why := self._leave_asked.get(run.id):
                runner.ask_to_leave(why)
            try:
                runner.execute(resume)
            finally:
                self._runner = None
                self._leave_asked.pop(run.id, None)
            if run.id in self._discard:
                self._discard.discard(run.id)
                self.store.delete(run.id)

        self.store.update(run.id, status="queued", message="", ended=None, reason="It waits for its turn.")
        try:
            turn = self.engine.long(f"run {run.name}", job, (TRAINING, run.id), asker(viewer))
        except BusyError:
            # Somebody was faster; one that had begun before stays as it was.
            if resume:
                back: dict[str, Any] = {"status": run.status, "message": run.message, "ended": run.ended}
                self.store.update(run.id, reason="Too many were waiting.", **back)
            else:
                self._undo_start(run.id)
            raise
        self._turns[run.id] = turn

    @property
    def bench(self) -> Any:
        """The workbench; only touched on the engine's thread."""
        from .model_host import Workbench

        if self._bench is None:
            self._bench = Workbench()
        return self._bench

    def wait(self, run_id: str, timeout: float | None = None) -> Run:
        """Block until the run has ended (or ``timeout`` seconds are over)."""
        turn = self._turns.get(run_id)
        if turn:
            # One that was withdrawn has ended too.
            with contextlib.suppress(CancelledError):
                turn.exception(timeout)
        return self.store.get(run_id)

    # The line

    def busy_with(self, viewer: Viewer = HOST) -> str | None:
        """What the lab is busy with, in words for ``viewer``; None where it is idle."""
        line = self.engine.line
        if not line:
            return None
        return line[0].label if self.sees_run(line[0].about[1], viewer) else "a visitor's private run"

    def place(self, kind: str, run_id: str) -> dict[str, Any]:
        """``place``: 1 for the next one (None: at work, about to be, or not in the line); ``starts_in_seconds``: about
        when, if the one at work says how long it takes; those between are taken to take as long as that one."""
        line = self.engine.line
        return self._wait(line, next((number for number, turn in enumerate(line) if turn.about == (kind, run_id)), 0))

    def others_at_work(self, viewer: Viewer = HOST) -> dict[str, Any] | None:
        """Somebody else's job that ``viewer`` has to wait for; None where the lab is idle or works for them.

        ``kind`` of the job, whether ``viewer`` is ``waiting`` in the line already, and of their first
        turn there, or of the one that they would get now, what ``place`` tells.
        """
        line, who = self.engine.line, asker(viewer)
        if not line or line[0].by == who:
            return None
        mine = next((number for number, turn in enumerate(line) if turn.by == who), None)
        return {"kind": line[0].about[0], "waiting": mine is not None, **self._wait(line, mine or len(line))}

    def _wait(self, line: tuple[Turn, ...], place: int) -> dict[str, Any]:
        left = self._seconds_to_go(line[0]) if place else None
        if left is None:
            return {"place": place or None, "starts_in_seconds": None}
        whole = left + time.monotonic() - (line[0].begun or time.monotonic())
        return {"place": place, "starts_in_seconds": left + (place - 1) * whole}

    def _seconds_to_go(self, turn: Turn) -> float | None:
        """How long the job at work still takes; None where it cannot be told yet."""
        kind, run_id = turn.about
        if kind != TRAINING or not self.store.has(run_id):
            return None
        return self._seconds_left(self.store.get(run_id))

    def run_status(self, run_id: str, viewer: Viewer = HOST) -> dict[str, Any]:
        """Where a run stands; ``place`` in the line while it waits, ``part`` of its phase done while it works.

        ``download``: the bytes of one under way, see ``Runner.download``.
        """
        told, runner = super().run_status(run_id, viewer), self._runner
        if runner and runner.run.id != run_id:
            runner = None
        part = runner.parts if runner else None
        part_told = {"done": part[0], "total": part[1]} if part else None
        download = runner.download if runner else None
        return {**told, "part": part_told, "download": download, **self.place(TRAINING, run_id)}

    # What its owner may do

    def may_change(self, run: Run, viewer: Viewer) -> bool:
        """Whether ``viewer`` may stop, rename or delete the run: who started it, the host, or anybody on a machine
        of one's own. What a script started without saying who it is, is anybody's; what was recorded is the host's."""
        if viewer.host or not self.strangers:
            return True
        return run.started_by in (None, viewer.id) and recorded_on(run.facts) is None

    def run_traceback(self, run_id: str, viewer: Viewer = HOST) -> str | None:
        """Where in the code the run failed, for the host and who started it (on a machine of one's own: anybody)."""
        run = self.visible_run(run_id, viewer)
        may_read = viewer.host or not self.strangers or (viewer.id is not None and run.started_by == viewer.id)
        return self.store.traceback(run.id) if may_read else None

    def changeable_run(self, run_id: str, viewer: Viewer, doing: str) -> Run:
        """The run, if ``viewer`` sees it and may do that. Raises NotFoundError or NotYoursError."""
        run = self.visible_run(run_id, viewer)
        if not self.may_change(run, viewer):
            raise NotYoursError(f"Run {run.name} was started by somebody else: only they and the host can {doing} it.")
        return run

    def rename_run(self, run_id: str, name: str, viewer: Viewer = HOST) -> None:
        """Give a run another name; an empty one leaves it as it is."""
        name = read_name(name)
        run = self.changeable_run(run_id, viewer, "rename")
        self.store.update(run.id, name=name or run.name)
        self._keep_for_host(run, viewer)

    def annotate_run(self, run_id: str, tags: Any, notes: Any, viewer: Viewer = HOST) -> None:
        """Write a run's tags (a text with commas, or a list) and notes anew. Raises DataError beyond their limits."""
        kept, text = read_tags(tags), read_notes(notes)
        run = self.changeable_run(run_id, viewer, "annotate")
        self.store.update(run.id, tags=json.dumps(kept), notes=text)
        self._keep_for_host(run, viewer)

    def import_run(
        self, file: Path, name: str = "", viewer: Viewer = HOST, data: Mapping[str, Any] | None = None
    ) -> str:
        """Put an exported run, or a LoRA adapter trained elsewhere, into the history; its id.

        It is finished, and a visitor's alone until they share it. ``data`` (a configuration's; the bundled rows, if
        none) gives the held-out rows of one whose own did not come along. Raises DataError, ModelError or
        SettingsError where the zip is not what it should be; then nothing is left of it.
        """
        name = read_name(name)
        if not viewer.host and viewer.id is None:
            raise DataError("The lab does not know whose run that is: reload the page, then import it again.")
        run_id = self.store.new_id()
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self.data_dir / "runs" / run_id, ignore_errors=True)
            self._import(run_id, Path(file), name, viewer, data or {})
            undo.pop_all()
        return run_id

    def _import(self, run_id: str, file: Path, name: str, viewer: Viewer, data: Mapping[str, Any]) -> None:
        # Asked first: rows that this visitor may not use are refused before anything is read.
        named = source_to_share(self.config({"data": dict(data)}, viewer).data.source)
        self._require_room(viewer, incoming.size_of(file))
        self.wait_for_imports()
        with on_disk(self.data_dir), atomic_write.writing(self.data_dir / "runs" / run_id / "adapter") as folder:
            found = incoming.with_base(incoming.read_zip(file, folder / WEIGHTS_FILE), self._local_models(viewer))
            (folder / CONFIG_FILE).write_text(json.dumps(found.adapter_config), encoding="utf-8")
        config, said = incoming.configuration(found, data, named)
        steps = max((metric["step"] for metric in found.metrics), default=0)
        now, owner = time.time(), None if viewer.host else viewer.id
        facts = {**found.facts, "imported": True} | ({EXPIRES: True} if self._has_quota(viewer) else {})
        run = Run(
            run_id, name or f"Imported: {incoming.name_of(file)}", "finished", None, said, steps, steps, now, now,
            self.config(config, viewer).to_dict(), None, facts, owner, started_by=viewer.id,
        )  # fmt: skip
        unpacked = folder_bytes(self.data_dir / "runs" / run_id) + len(json.dumps(found.metrics))
        with self._adding(viewer, unpacked):
            self.store.enter(run, metrics=found.metrics, events=[{"time": now, "text": said}])

    def _local_models(self, viewer: Viewer) -> dict[str, str]:
        """Folders that runs of this lab were trained on, by the sha256 of their weights."""
        runs = (run for run in self.store.all() if viewer.sees(run.owner))
        local = (run for run in runs if run.facts.get("weights_source") == LOCAL_FOLDER)
        return {
            str(run.facts["weights_sha256"]): run.config["model"] for run in local if os.path.isdir(run.config["model"])
        }

    def sharing(self, run_id: str | None, viewer: Viewer = HOST) -> bool | None:
        """Whether the run is shared; None where it is not ``viewer``'s to share, or made of public data."""
        if not self.sees_run(run_id, viewer):
            return None
        run = self.store.get(str(run_id))
        owner = self._maker(run)
        return run.owner is None if owner is not None and (viewer.host or viewer.id == owner) else None

    def share_run(self, run_id: str, shared: bool, viewer: Viewer = HOST) -> None:
        """Show a run made of an upload to everyone, rows and answers included; or to its uploader alone again."""
        run = self.visible_run(run_id, viewer)
        owner = self._maker(run)
        if owner is None:
            raise DataError(f"Run {run.name} is made of public data: everyone sees it.")
        if not viewer.host and viewer.id != owner:
            raise NotYoursError(f"Run {run.name} is made of somebody else's upload: only they can share it.")
        self.store.update(run.id, owner=None if shared else owner)
        self._keep_for_host(run, viewer)

    def _maker(self, run: Run) -> str | None:
        """Whose upload the run, or one it goes on from, was made of, or who imported it; None for public data."""
        imported_by = run.started_by if "imported" in run.facts else None
        owner = self.upload_owner(run.config["data"]["source"]) or imported_by or run.owner
        if owner is None and run.parent and self.store.has(run.parent):
            return self._maker(self.store.get(run.parent))
        return owner

    def pause_run(self, run_id: str, viewer: Viewer = HOST) -> str:
        """Ask a run to leave at a checkpoint, so that others may train meanwhile; ``resume_run`` goes on from there."""
        return self._ask_to_leave(self.changeable_run(run_id, viewer, "pause"), Leave.PAUSE)

    def stop_run(self, run_id: str, keep: bool = True, viewer: Viewer = HOST) -> str:
        """Ask a run to stop within one step; its adapter is kept, or the run discarded. Returns its status.

        One that waits for its turn is taken out of the line at once.
        """
        return self._ask_to_leave(self.changeable_run(run_id, viewer, "stop"), Leave.STOP, keep)

    def _ask_to_leave(self, run: Run, why: Leave, keep: bool = True) -> str:
        if self.engine.withdraw((TRAINING, run.id)):
            self._end_unbegun(run.id, "stopped", "Withdrawn before its turn came.")
            if not keep:
                self.store.delete(run.id)
            return "stopped"
        self._leave_asked[run.id] = why
        if not keep:
            self._discard.add(run.id)
        if not self.store.mark_stopping(run.id, _ASKED[why] if keep else "It was asked to stop and be discarded."):
            # It ended by itself, now or long ago.
            self._leave_asked.pop(run.id, None)
            self._discard.discard(run.id)
            return self.store.get(run.id).status
        if (runner := self._runner) and runner.run.id == run.id:
            runner.ask_to_leave(why)
        return "stopping"

    def _end_unbegun(self, run_id: str, status: str, message: str) -> None:
        self.store.update(run_id, status=status, phase=None, ended=time.time(), message=message)
        self.store.add_event(run_id, message)

    def delete_run(self, run_id: str, viewer: Viewer = HOST) -> None:
        """Remove a run, its history and its files. Raises BusyError while it is at work."""
        self.store.delete(self.changeable_run(run_id, viewer, "delete").id)
        self._turns.pop(run_id, None)
        if self._bench is not None:
            self.engine.short(lambda: self.bench.forget(run_id))

    def bin_run(self, run_id: str, viewer: Viewer = HOST) -> None:
        """Delete a run so that it can be undone for an hour, or until the lab starts again."""
        self.store.bin(self.changeable_run(run_id, viewer, "delete").id, at=self.clock.now())
        with self._emptying_begins:
            if self._emptying is None:
                self._emptying = threading.Thread(target=self._keep_emptying, name="bin", daemon=True)
                self._emptying.start()

    def unbin_run(self, run_id: str, viewer: Viewer = HOST) -> None:
        """Undo ``bin_run``. Raises NotFoundError where it is too late."""
        run = self.store.in_bin(run_id)
        if not self._may_unbin(run, viewer):
            raise NotYoursError("That run was somebody else's: only they and the host can bring it back.")
        self.store.unbin(run.id)

    def binned_runs(self, viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """Deleted runs that ``viewer`` may bring back, the last deleted first: ``{id, name, seconds_left}``."""
        runs = [run for run in self.store.binned() if self._may_unbin(run, viewer)]
        gone = {run.id: (run.binned or 0.0) + BIN_SECONDS for run in runs}
        return [{"id": run.id, "name": run.name, "seconds_left": gone[run.id] - self.clock.now()} for run in runs]

    def _may_unbin(self, run: Run, viewer: Viewer) -> bool:
        return viewer.sees(run.owner) and self.may_change(run, viewer)

    def restore_recorded(self, viewer: Viewer = HOST) -> None:
        """Bring back the recorded runs that were deleted in this lab. Raises NotYoursError where others look on."""
        if self.strangers and not viewer.host:
            raise NotYoursError("The host deleted the recorded runs here, and only they can bring them back.")
        put_recorded(self.store, again=True)

    def empty_bin(self) -> None:
        """Delete for good what has been in the bin for its time."""
        self._empty_bin(before=self.clock.now() - BIN_SECONDS)

    def _empty_bin(self, before: float) -> None:
        for run_id in self.store.ids_in_bin(before):
            attempt(partial(self.store.erase_binned, run_id), f"delete run {run_id} for good")

    def _keep_emptying(self) -> None:
        while not self._closing.wait(BIN_SECONDS / 12):
            attempt(self.empty_bin, "empty the bin")

    # What visitors leave behind

    def keep_upload(self, file: Path, viewer: Viewer = HOST) -> Path:
        """See ``Views.keep_upload``. Raises DataError where a visitor keeps too much already."""
        with self._adding(viewer, file.stat().st_size):
            return super().keep_upload(file, viewer)

    def _has_quota(self, viewer: Viewer) -> bool:
        return self.strangers and not viewer.host

    def _adding(self, viewer: Viewer, size: int) -> AbstractContextManager[None]:
        return self.quota.adding(viewer, size) if self._has_quota(viewer) else contextlib.nullcontext()

    def _require_room(self, viewer: Viewer, size: int = 0) -> None:
        """Raise DataError where a visitor may keep nothing more, or not ``size`` bytes more."""
        if self._has_quota(viewer):
            self.quota.require_room(viewer, size)

    def _keep_for_host(self, run: Run, viewer: Viewer) -> None:
        """A visitor's run that the host has taken in hand is not removed after a time."""
        if viewer.host and expires(run):
            self.store.update(run.id, facts={EXPIRES: False})

    def remove_old_uploads(self) -> None:
        """Remove uploads, private runs made of them, and what else visitors started where several people use the lab,
        once they are older than the host keeps them."""
        if not self.clock.believed():
            return
        oldest = self.clock.now() - 3600 * self.keep_uploads_hours
        runs = self.store.all()
        # One that is being evaluated is removed in a later round.
        at_work = {turn.about[1] for turn in self.engine.line}
        for run in runs:
            if run.live or run.id in at_work or (run.ended or run.created) >= oldest:
                continue
            # A run that goes on from it has a copy of its adapter.
            if run.owner is not None:
                attempt(partial(self.delete_run, run.id), f"delete the private run {run.id}")
            elif self.strangers and expires(run):
                attempt(partial(self.delete_run, run.id), f"delete the visitor's run {run.id}")
        in_use = {real_path(run.config["data"]["source"]) for run in runs if run.live}
        for file in self.uploads.rglob("*"):
            attempt(partial(_remove_if_old, file, oldest, in_use), f"remove the upload {file.name}")

    def tidy_hourly(self) -> None:
        """Keep the data folder tidy until the lab closes; for a thread of its own."""
        while True:
            attempt(self.remove_old_uploads, "look for old uploads")
            attempt(self.clock.remember, "write down the time")
            if self._closing.wait(3600):
                return


def _remove_if_old(file: Path, oldest: float, in_use: Collection[str]) -> None:
    """Remove a file written before ``oldest`` that no live run reads."""
    if file.is_file() and file.stat().st_mtime < oldest and os.path.realpath(file) not in in_use:
        file.unlink(missing_ok=True)


def asker(viewer: Viewer) -> str | None:
    """Whose turns are counted together: scripts that do not say who they are share theirs; the host's are not."""
    return None if viewer.host else viewer.id or "anonymous"


def _on_a_mount(folder: Path) -> bool:
    """Whether the folder lies on another file system than the root of the machine."""
    return folder.stat().st_dev != Path("/").stat().st_dev
