"""The thread that follows one job on the Hub: it sends it, reads state and log, and brings its run back."""

from __future__ import annotations

import contextvars
import dataclasses
import logging
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.viewer import Viewer
from ..errors import LabError, Stopped
from ..export import import_run
from ..pretrained import hub_jobs, hub_upload
from ..pretrained.hub_faults import HubFault
from ..pretrained.hub_token import HubToken
from ..store.hub_jobs import (
    ARRIVING,
    CANCELLED,
    DONE,
    FAILED,
    LOST,
    QUEUED,
    REFUSED,
    RUNNING,
    SENDING,
    STARTING,
    HubJob,
    JobFiles,
)
from ..store.run_store import RunStore
from ..text.plain_text import LONGEST_NAME, shown
from ..util.progress import Loading
from .configurations import Configurations
from .transfers import Transfers

log = logging.getLogger(__name__)
JOB_KEY = "hub_job"
"""The key in a run's provenance: the job that it came back from."""
POLL_SECONDS = 5.0
LONGEST_MESSAGE = 300
_STAGES = {
    "SCHEDULING": QUEUED, "RUNNING": RUNNING, "COMPLETED": ARRIVING, "ERROR": FAILED, "CANCELED": CANCELLED,
    "DELETED": LOST,
}  # fmt: skip

Files = Mapping[str, bytes | Path]


@dataclass(frozen=True)
class Surroundings:
    """What a follower needs of the lab. ``closing``: set when the lab closes, which the job does not notice."""

    files: JobFiles
    store: RunStore
    configs: Configurations
    transfers: Transfers
    closing: threading.Event


class Follower:
    """Follows ``job`` in the name of ``viewer``. ``fault``: what went wrong last; ``log``: the job's last lines.

    The token is an argument of its thread alone.
    """

    def __init__(self, job: HubJob, viewer: Viewer, lab: Surroundings):
        self.job, self.fault = job, ""
        self.log: list[str] = []
        self._viewer, self._lab = viewer, lab
        self._cancel, self._loading = threading.Event(), Loading(lab.closing.is_set)
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, own: HubToken, files: Files) -> None:
        """Begin. ``files``: what is sent; empty for a job that was sent before."""
        # In a copy of the request's context, which has the token that reads the Hub.
        context = contextvars.copy_context()
        arguments = (self._run, own, files)
        self._thread = threading.Thread(target=context.run, args=arguments, name="hub-job", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """End the job on the Hub at the next look, with the thread's token; one that is not sent yet is not sent."""
        self._cancel.set()

    # On its thread

    def _run(self, own: HubToken, files: Files) -> None:
        try:
            self._work(own, files)
        except Stopped:
            if not self._lab.closing.is_set():
                self._save(status=CANCELLED, message="")
        except LabError as error:
            self.fault = str(error)
        except Exception:  # the thread's boundary
            log.exception("following a Hub job failed")
            self.fault = "The lab could not go on with this job, and its log says why: try Go on."

    def _work(self, own: HubToken, files: Files) -> None:
        if self.job.hub_id is None and not self._submitted(own, files):
            return
        while self.job.status != ARRIVING:
            self._try(lambda: self._look(own))
            if self.job.ended:
                return
            if self.job.status != ARRIVING:
                self._pause()
        while not self._try(lambda: self._bring_back(own)):
            self._pause()

    def _try(self, step: Callable[[], object]) -> bool:
        """Whether ``step`` came to its end; a fault that passes is shown, and others are raised."""
        self._loading.check()
        try:
            step()
        except HubFault as fault:
            if not fault.passes:
                raise
            self.fault = str(fault)
            return False
        self.fault = ""
        return True

    def _pause(self) -> None:
        (self._lab.closing if self._cancel.is_set() else self._cancel).wait(POLL_SECONDS)
        self._loading.check()

    def _submitted(self, own: HubToken, files: Files) -> bool:
        """Start the job, or find the one of an earlier request: that one is never started a second time."""
        job = self.job
        try:
            earlier = self._found(own) if job.status == SENDING else None
            hub_id = self._submit(own, files) if files else earlier
        except LabError as error:
            # Where the request was sent and its reply is lost, it may run: only the Hub knows.
            if self.job.status != STARTING:
                raise
            self._save(status=REFUSED, message=str(error))
            return False
        if hub_id is None:
            self._save(status=REFUSED, message="The lab was closed before it was sent: start it again.")
            return False
        self._save(hub_id=hub_id, status=QUEUED)
        log.info("started Hub job %s of %s", job.id, job.name)
        return True

    def _submit(self, own: HubToken, files: Files) -> str:
        job, unsent = self.job, Loading(lambda: self._lab.closing.is_set() or self._cancel.is_set())
        commit = hub_upload.upload(
            job.repo,
            files,
            own,
            lambda present: [],
            unsent,
            private=True,
            message="The script of a job of Instruction-Tuning Lab",
            again="start the job again",
        ).commit
        if found := self._found(own):
            return found
        unsent.check()
        self._save(status=SENDING)
        try:
            return hub_jobs.start(job.namespace, job.id, job.repo, commit, job.flavor, job.minutes, own, unsent)
        except HubFault as fault:
            found = self._found_late(own) if fault.passes else None
            if found is None:
                self._save(status=STARTING)
                raise
            return found

    def _found(self, own: HubToken) -> str | None:
        return hub_jobs.find(self.job.namespace, self.job.id, own)

    def _found_late(self, own: HubToken) -> str | None:
        """The job, where the Hub began it and its answer was lost; it may take a moment to be in the list."""
        if found := self._found(own):
            return found
        self._pause()
        return self._found(own)

    def _look(self, own: HubToken) -> None:
        job = self.job
        try:
            if self._cancel.is_set():
                hub_jobs.cancel(job.namespace, str(job.hub_id), own)
            state = hub_jobs.state(job.namespace, str(job.hub_id), own)
        except HubFault as fault:
            if fault.status != 404:
                raise
            self._save(status=LOST, message="")
            return
        if state.stage not in _STAGES:
            log.warning("the Hub tells an unknown stage of a job: %s", shown(state.stage))
            return
        status, message = _STAGES[state.stage], state.message.replace(own.secret, "…")[:LONGEST_MESSAGE]
        if status == RUNNING:
            self._save(status=status, message=message)
        try:
            if status not in (QUEUED, LOST):
                self._read_log(own)
        finally:
            # A log that cannot be read keeps nobody from the job's end.
            self._save(status=status, message=message)

    def _read_log(self, own: HubToken) -> None:
        """Replace the lines that are shown, unless the connection was cut and fewer came than there are."""
        lines: list[str] = []
        try:
            hub_jobs.read_log(self.job.namespace, str(self.job.hub_id), own, lines.append)
        except HubFault as fault:
            # The job may have gone since its state was read, which the next look finds out.
            if fault.status != 404:
                raise
        finally:
            if len(lines) >= len(self.log):
                self.log = lines

    def _bring_back(self, own: HubToken) -> None:
        job = self.job
        there = [run.id for run in self._lab.store.all() if run.provenance.get(JOB_KEY) == job.id]
        run_id = there[0] if there else self._imported(own)
        self._save(status=DONE, brought=run_id)
        log.info("brought Hub job %s back as run %s", job.id, run_id)

    def _imported(self, own: HubToken) -> str:
        job = self.job
        with tempfile.TemporaryDirectory(prefix="lab-job-") as folder:
            files = hub_jobs.fetch_results(job.repo, import_run.READ_FILES, own, Path(folder), self._loading)
            zipped = import_run.zipped(files, Path(folder) / "job.zip")
            # The rows may have been removed meanwhile, as uploads are.
            usable = job.data and self._lab.configs.may_use(self._viewer, job.data["source"])
            name, data = f"{job.name} (Hub job)"[:LONGEST_NAME], job.data if usable else None
            return self._lab.transfers.import_run(self._viewer, zipped, name, data, {JOB_KEY: job.id})

    def _save(self, **changes: Any) -> None:
        """Change the job, and store it if it differs."""
        job = dataclasses.replace(self.job, **changes)
        if job != self.job:
            self._lab.files.write(job)
            self.job = job
