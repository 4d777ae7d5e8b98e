"""Training runs: start, resume, pause, stop, delete."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent import futures
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from ..compute.model_host import ModelHost
from ..config.run_config import RunConfig
from ..config.viewer import HOST, Viewer
from ..errors import BusyError, DiskFullError, LabError, NotFoundError, StoreError
from ..runs import continuation
from ..runs.annotations import read_name
from ..store import disk_reserve
from ..store.disk_usage import folder_bytes
from ..store.run import Run
from ..store.run_store import RunStore
from ..store.status_log import StopReason
from .access import Access, submitter
from .configurations import Config, Configurations
from .datasets import Datasets
from .device import Device
from .devices import Devices
from .job_queue import Job, JobQueue, OthersAtWork
from .quota import EXPIRES
from .rooms import Rooms
from .runs import OWN_DATA, Runs
from .slow_imports import SlowImports
from .types import RunStatus
from .uploads import Uploads

if TYPE_CHECKING:
    from .training_job import TrainingJob

SECONDS_TO_END = 60.0
"""How long a run that has its last status may still be at work."""
TRAINING = "run"
"""A job that trains is about ``(TRAINING, run_id)``."""
_REQUESTS = {StopReason.STOP: "It was asked to stop.", StopReason.PAUSE: "It was asked to pause."}


class Training:
    """Owns the runs that train, the runs that wait, and the requests to stop them."""

    def __init__(
        self,
        store: RunStore,
        runs: Runs,
        access: Access,
        configs: Configurations,
        uploads: Uploads,
        datasets: Datasets,
        models: ModelHost,
        devices: Devices,
        queue: JobQueue,
        imports: SlowImports,
        rooms: Rooms,
    ):
        self._store, self._runs, self._access, self._configs, self._rooms = store, runs, access, configs, rooms
        self._uploads, self._datasets, self._models = uploads, datasets, models
        self._devices, self._queue, self._imports = devices, queue, imports
        self._current: dict[str, TrainingJob] = {}
        self._jobs: dict[str, Job] = {}
        self._stop_requests: dict[str, StopReason] = {}
        self._discarded: set[str] = set()
        self._resuming, self._starting = threading.Lock(), threading.Lock()

    # Starting and waiting

    def start(
        self, viewer: Viewer, config: Config, name: str = "", parent: str | None = None, own_device: bool = False
    ) -> str:
        """Enqueue a run; returns its id. Raises BusyError where the queue is full.

        A run made of an upload, or of what ``viewer`` reads on the Hub by their own token, is theirs alone until they
        share it. With ``parent`` it begins with that run's adapter, and what ``config`` leaves out is the parent's;
        ``continuation`` says what is refused. With ``own_device`` it trains in this process, where a GPU could be lent.

        In a room its rules hold, and where somebody there has a run with exactly these settings, that one is returned.
        """
        before = self._runs.get(viewer, parent) if parent else None
        if before and not isinstance(config, RunConfig):
            config = continuation.config_after(before, config)
        config = self._configs.read(viewer, config)
        name = read_name(name)
        self._rooms.require(viewer, config)
        # Of a class that presses Start at once, the second finds the first one's run.
        with self._starting if self._rooms.joined(viewer) else contextlib.nullcontext():
            run_id = (None if before else self._same_run(viewer, config)) or self._create(
                viewer, config, name, before, own_device
            )
            self._rooms.ran(viewer, run_id, config)
        return run_id

    def _same_run(self, viewer: Viewer, config: RunConfig) -> str | None:
        """A run of the viewer's room with exactly these settings that is not lost."""
        for run_id in self._rooms.same_run(viewer, config):
            if self._runs.is_visible(viewer, run_id):
                run = self._store.get(run_id)
                if run.parent:
                    # It began with an adapter, which is no setting.
                    continue
                if (run.live and run.status != "stopping") or run.status == "finished":
                    return run_id
        return None

    def _create(self, viewer: Viewer, config: RunConfig, name: str, before: Run | None, own_device: bool) -> str:
        device = self._devices.choose(own_device)
        device.refuse_when_full(submitter(viewer))
        size = folder_bytes(self._store.folder(before.id) / "adapter") if before else 0
        self._uploads.require_room(viewer, size)
        if before:
            continuation.require_fit(before, config, self._store.folder(before.id) / "adapter")
        own = self._configs.owner(viewer, config)
        run = self._store.create(name, config.to_dict(), own or (before.owner if before else None), viewer.id, before)
        try:
            if own:
                self._store.update(run.id, provenance={OWN_DATA: True})
            if before:
                self._copy_adapter(before, run)
                self._store.update(run.id, provenance=continuation.inherited_provenance(before, config))
            if self._access.has_quota(viewer):
                self._store.update(run.id, provenance={EXPIRES: True})
            self._enqueue(viewer, self._store.get(run.id), False, device)
        except (BusyError, NotFoundError, StoreError) as error:
            self._make_room(error)
            # A run that never began leaves no trace.
            self._store.discard(run.id)
            raise
        return run.id

    def resume(self, viewer: Viewer, run_id: str, own_device: bool = False) -> str:
        """Continue a run that was stopped, interrupted or failed, from its last checkpoint; returns its id.

        ``own_device`` as for ``start``, whichever device it began on.
        """
        run = self._runs.get_to_change(viewer, run_id, "resume")
        self._uploads.require_room(viewer)
        # Before it counts as live: the host may have forbidden its files since.
        self._configs.read(HOST, run.config)
        with self._resuming:
            # Read again: a page and a script may both have found it stopped.
            run = self._store.get(run.id)
            if (before := self._jobs.get(run.id)) and run.ended_early:
                # It has its last status, and may still be writing its snapshot.
                futures.wait([before], SECONDS_TO_END)
            if not run.ended_early:
                raise BusyError(f"Run {run.name} is {run.status}: only one that ended early can be resumed.")
            try:
                self._enqueue(viewer, run, True, self._devices.choose(own_device))
            except (BusyError, NotFoundError, StoreError) as error:
                self._make_room(error)
                # It stays as it was.
                earlier: dict[str, Any] = {"status": run.status, "message": run.message, "ended": run.ended}
                why = "Too many were waiting." if isinstance(error, BusyError) else str(error)
                self._store.update(run.id, reason=why, **earlier)
                raise
        return run.id

    def wait(self, run_id: str, timeout: float | None = None) -> Run:
        """Block until the run has ended, or ``timeout`` seconds have passed."""
        job = self._jobs.get(run_id)
        if job:
            # A run that was withdrawn has ended too.
            with contextlib.suppress(CancelledError):
                job.exception(timeout)
        return self._store.get(run_id)

    def status(self, viewer: Viewer, run_id: str) -> RunStatus:
        """``Runs.status``, and of a live run its place in the queue, the part of its phase that is done, its download.

        ``part``: ``{done, total}``; ``download``: see ``TrainingJob.download``. Both None where nothing is under way.
        """
        status, job = self._runs.status(viewer, run_id), self._current.get(run_id)
        part = job.parts if job else None
        return {
            **status,
            "eta_seconds": job.seconds_left() if job else None,
            "part": {"done": part[0], "total": part[1]} if part else None,
            "download": job.download if job else None,
            **self._queue.position((TRAINING, run_id)),
        }

    def busy_with(self, viewer: Viewer) -> str | None:
        """What the lab is working on, in words for ``viewer``; None where it is idle."""
        jobs = self._devices.jobs
        return self._runs.job_label(viewer, jobs[0]) if jobs else None

    def others_at_work(self, viewer: Viewer) -> OthersAtWork | None:
        """Somebody else's job that ``viewer`` waits for; None where the lab is idle or works for them."""
        return self._queue.others_at_work(submitter(viewer))

    def _copy_adapter(self, parent: Run, child: Run) -> None:
        try:
            continuation.copy_adapter(self._store.folder(parent.id) / "adapter", self._store.folder(child.id))
        except (OSError, NotFoundError) as error:
            raise StoreError(f"The adapter of run {parent.name} cannot be copied: {error}. Start it again.") from error

    def _make_room(self, error: LabError) -> None:
        """On a full disk the end of what failed can be written down only in the reserved space."""
        if isinstance(error, DiskFullError):
            disk_reserve.release(self._store.data_dir)

    def _enqueue(self, viewer: Viewer, run: Run, resume: bool, device: Device) -> None:
        self._store.update(run.id, status="queued", message="", ended=None, reason="It waits for its turn.")
        job = Job(
            f"run {run.name}",
            lambda: self._train(run, resume, device),
            (TRAINING, run.id),
            submitter(viewer),
            lambda: self._seconds_left(run.id),
        )
        # From now on it is live; in another window it may have been deleted just before.
        self._store.get(run.id)
        self._jobs[run.id] = device.enqueue(job)

    def _seconds_left(self, run_id: str) -> float | None:
        job = self._current.get(run_id)
        return job.seconds_left() if job else None

    def _train(self, run: Run, resume: bool, device: Device) -> None:
        """The job, on the thread that the device gives it."""
        self._imports.wait()
        from .training_job import TrainingJob

        disk_reserve.reserve(self._store.data_dir)
        job = TrainingJob(run, self._store, self._datasets, device, self._queue)
        self._current[run.id] = job
        if why := self._stop_requests.get(run.id):
            job.request_stop(why)
        try:
            job.execute(resume)
        finally:
            if self._current.get(run.id) is job:
                self._current.pop(run.id)
                self._stop_requests.pop(run.id, None)
        if run.id in self._discarded:
            self._discarded.discard(run.id)
            self._store.delete(run.id)

    # Stopping

    def pause(self, viewer: Viewer, run_id: str) -> str:
        """Ask a run to stop at a checkpoint, so that others may train meanwhile. Returns its status."""
        return self._request_stop(self._runs.get_to_change(viewer, run_id, "pause"), StopReason.PAUSE)

    def stop(self, viewer: Viewer, run_id: str, keep: bool = True) -> str:
        """Ask a run to stop within one step; its adapter is kept, or the run deleted. Returns its status.

        A run that waits is withdrawn from the queue at once.
        """
        return self._request_stop(self._runs.get_to_change(viewer, run_id, "stop"), StopReason.STOP, keep)

    def delete(self, viewer: Viewer, run_id: str) -> None:
        """Remove a run, its history and its files. Raises BusyError while it is live."""
        self._store.delete(self._runs.get_to_change(viewer, run_id, "delete").id)
        self._jobs.pop(run_id, None)
        if not self._models.empty:
            self._queue.submit_short(lambda: self._models.forget(run_id))

    def _request_stop(self, run: Run, why: StopReason, keep: bool = True) -> str:
        if self._queue.withdraw((TRAINING, run.id)):
            self._end_unbegun(run.id, "stopped", "Withdrawn before its turn came.")
            if not keep:
                self._store.delete(run.id)
            return "stopped"
        self._stop_requests[run.id] = why
        if not keep:
            self._discarded.add(run.id)
        if not self._store.mark_stopping(run.id, _REQUESTS[why] if keep else "It was asked to stop and be discarded."):
            # It ended by itself, now or long ago.
            self._stop_requests.pop(run.id, None)
            self._discarded.discard(run.id)
            return self._store.get(run.id).status
        if job := self._current.get(run.id):
            job.request_stop(why)
        return "stopping"

    def _end_unbegun(self, run_id: str, status: str, message: str) -> None:
        self._store.update(run_id, status=status, phase=None, ended=time.time(), message=message)
        self._store.add_event(run_id, message)

    # Closing

    def interrupt_all(self) -> None:
        """Ask the run that trains, and those about to, to stop for the end of the process."""
        # A run that has not begun yet finds its request when it does.
        self._stop_requests |= {run.id: StopReason.CLOSE for run in self._store.all() if run.live}
        for job in list(self._current.values()):
            job.request_stop(StopReason.CLOSE)

    def interrupt_unbegun(self, jobs: list[Job]) -> None:
        """Mark runs whose jobs left the queue as interrupted."""
        for job in jobs:
            kind, run_id = job.about
            if kind == TRAINING:
                self._end_unbegun(run_id, "interrupted", "The lab was closed before the run began; it can be resumed.")
