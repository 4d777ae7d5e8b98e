"""The lab on one data folder: it builds the services and ends them. It has no rules of its own."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from .compute.model_host import ModelHost
from .config.environment import default_data_dir, fetches_default_model, whole_number
from .config.viewer import multi_user
from .export.trackio_sink import trackio_project
from .services.access import Access
from .services.answerers import Answerers
from .services.configurations import Configurations
from .services.datasets import Datasets
from .services.default_model import DefaultModel
from .services.device import ThisProcess
from .services.devices import Devices
from .services.estimates import Estimates
from .services.evaluations import Evaluations
from .services.housekeeping import Housekeeping
from .services.hub_jobs import HubJobs
from .services.inference import Inference
from .services.job_queue import MAX_WAITING, JobQueue
from .services.live_trackio import LiveTrackio
from .services.push import Push
from .services.quota import Quota
from .services.room_activities import RoomActivities
from .services.room_boards import RoomBoards
from .services.rooms import Rooms
from .services.run_pages import RunPages
from .services.runs import Runs
from .services.scripts import Scripts
from .services.slow_imports import SlowImports
from .services.tokenizers import Tokenizers
from .services.training import Training
from .services.transfers import Transfers
from .services.uploads import Uploads
from .services.zerogpu import Allocate
from .store.archive import RunArchive
from .store.clock import Clock
from .store.disk_usage import DiskUse
from .store.lock import DataLock
from .store.recovery import open_rescued
from .store.run_store import RunStore


class Lab:
    """The services, wired together.

    Args:
        data_dir: Where runs and uploads live; the default is ``default_data_dir()``.
        writing: Take the folder's lock, and mark what a former process left as interrupted; else only read.
        local_paths: Whether a configuration may name files of this machine; the default is yes, but not on a Space.
        allocate: Lends GPUs to worker processes, on a ZeroGPU Space; None elsewhere.

    Raises SettingsError for a wrong environment variable, BusyError where another process writes to the folder.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        writing: bool = True,
        local_paths: bool | None = None,
        allocate: Allocate | None = None,
    ):
        self.data_dir = data_dir = data_dir or default_data_dir()
        hosted = "SPACE_ID" in os.environ
        # Before the folder's lock is taken: a variable that is wrong leaves nothing locked.
        keep_hours = whole_number("LAB_KEEP_UPLOADS_HOURS", 24 if hosted else 168)
        fetch_default = fetches_default_model()
        project = trackio_project() if writing else None
        self.queue = JobQueue(max_waiting=whole_number("LAB_MAX_QUEUE", MAX_WAITING))
        self._closing = threading.Event()
        self._closed = False
        self._lock = DataLock(data_dir) if writing else None
        archive_dir = os.environ.get("LAB_ARCHIVE_DIR", "").strip()
        self.archive = RunArchive(Path(archive_dir).expanduser(), data_dir) if writing and archive_dir else None
        not_taken_back = self.archive.take_back() if self.archive else None
        self.store, notice = open_rescued(data_dir) if writing else (RunStore(data_dir), None)
        self.notice = " ".join(filter(None, (not_taken_back, notice))) or None
        self.clock = Clock(data_dir / "clock", most=3600.0 * keep_hours)
        self.disk = DiskUse(data_dir / "runs")
        # A Space's disk starts empty at every restart; storage that stays is a mount of its own.
        self.ephemeral_storage = hosted and not _is_a_mount(data_dir) and not self.archive
        self.imports = SlowImports()
        self.models = ModelHost(self._closing.is_set)
        self.devices = Devices(
            ThisProcess(self.models, self.queue, self.imports), allocate, self.queue, self.imports, data_dir
        )
        self.default_model = DefaultModel(self.models, self.queue, self.imports, fetch_default)
        self.access = Access(os.environ.get("LAB_ADMIN_TOKEN"), multi_user())
        self.quota = Quota(self.store, data_dir / "uploads", keep_hours)
        self.uploads = Uploads(data_dir, self.access, self.quota)
        self.configs = Configurations(
            data_dir, self.uploads, self.access, not hosted if local_paths is None else local_paths
        )
        self.tokenizers = Tokenizers(self.queue, self.imports)
        self.datasets = Datasets(self.configs, self.uploads, self.tokenizers, self.imports)
        self.runs = Runs(self.store, self.access, self.uploads, self.clock)
        self.rooms = Rooms(data_dir, self.access, self.queue, self.clock, writing)
        self.training = Training(
            self.store, self.runs, self.access, self.configs, self.uploads, self.datasets, self.models, self.devices,
            self.queue, self.imports, self.rooms,
        )  # fmt: skip
        self.answerers = Answerers(self.store, self.runs, self.datasets)
        self.inference = Inference(self.answerers, self.runs, self.configs, self.datasets, self.devices, self.queue)
        self.evaluations = Evaluations(
            self.store, self.runs, self.access, self.answerers, self.datasets, self.devices, self.queue, self.imports
        )
        self.estimates = Estimates(
            self.store, self.runs, self.configs, self.datasets, self.tokenizers, self.queue, self.imports
        )
        self.transfers = Transfers(
            self.store, self.runs, self.access, self.configs, self.uploads, self.tokenizers, self.queue, self.imports,
            self._closing,
        )  # fmt: skip
        self.scripts = Scripts(self.store, self.runs, self.configs)
        self.push = Push(
            self.store, self.runs, self.access, self.evaluations, self.inference, self.scripts, self._closing
        )
        self.hub_jobs = HubJobs(
            data_dir, self.store, self.runs, self.access, self.configs, self.uploads, self.scripts, self.transfers,
            self._closing,
        )  # fmt: skip
        self.run_pages = RunPages(
            self.runs, self.evaluations, self.datasets, self.estimates, self.answerers, self.inference, self.scripts
        )
        self.room_activities = RoomActivities(self.rooms, self.runs, self.training, self.evaluations, self.inference)
        self.room_boards = RoomBoards(self.runs, self.training, self.evaluations)
        self.housekeeping = Housekeeping(
            self.store, self.uploads, self.access, self.training, self.devices, self.rooms, self.clock, self.archive,
            keep_hours, self._closing,
        )  # fmt: skip
        if writing:
            self.housekeeping.recover()
        self._trackio = LiveTrackio(self.store, self.transfers, project, self._closing) if project else None

    def shutdown(self) -> None:
        """Ask everything at work to stop, and accept nothing more; does not wait for it."""
        if self._closing.is_set():
            return
        self.evaluations.stop_all()
        self.default_model.stop()
        self._closing.set()
        self.datasets.stop()
        self.devices.close()
        if self._lock:
            self.training.interrupt_all()
        self.training.interrupt_unbegun(self.queue.close())

    def close(self, timeout: float = 60.0) -> None:
        """Stop what is running, keep its adapter, and release the data folder. What is not done can be resumed."""
        if self._closed:
            return
        self._closed = True
        self.shutdown()
        self.housekeeping.join(timeout)
        self.devices.join(timeout)
        self.queue.join(timeout)
        if self._trackio:
            self._trackio.close(timeout)
        self.rooms.close()
        self.housekeeping.finish_archive()
        self.store.close()
        if self._lock:
            self._lock.release()


def _is_a_mount(folder: Path) -> bool:
    """Whether the folder lies on another file system than the root of the machine."""
    return folder.stat().st_dev != Path("/").stat().st_dev
