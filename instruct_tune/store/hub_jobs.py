"""What the lab knows of each person's jobs on the Hub: one small file a job, in a folder of that person."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BusyError
from ..util import atomic_write
from .connection import on_disk

log = logging.getLogger(__name__)
MAX_KEPT = 50
"""The jobs of one person that are remembered; beyond them the oldest that has ended is forgotten."""
STARTING, SENDING, QUEUED, RUNNING, ARRIVING = "starting", "sending", "queued", "running", "arriving"
DONE, FAILED, CANCELLED, REFUSED, LOST = "done", "failed", "cancelled", "not started", "lost"
ENDED = {DONE, FAILED, CANCELLED, REFUSED, LOST}
"""``sending``: it was requested, and the Hub has not answered. ``arriving``: it is done on the Hub, and its run is not
here yet. ``lost``: the Hub knows it no more."""
_HOST = "host"


@dataclass(frozen=True)
class HubJob:
    """One job. It holds no token.

    Args:
        id: The lab's own, a label of the job on the Hub.
        run_id: The run that it trains anew; None for a configuration.
        owner: Whose it is; None for the host's.
        namespace: The account that pays.
        repo: The private repository of script and results.
        hub_id: The Hub's id; None until it has answered.
        at_most_usd: What was agreed to.
        data: The run's ``data`` section where its rows came from a file.
        brought: The run that came back.
    """

    id: str
    run_id: str | None
    name: str
    owner: str | None
    namespace: str
    repo: str
    flavor: str
    minutes: int
    at_most_usd: float
    created: float
    hub_id: str | None = None
    status: str = STARTING
    message: str = ""
    data: Mapping[str, Any] | None = None
    brought: str | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class JobFiles:
    """Owns the folder of the jobs' files."""

    def __init__(self, data_dir: Path):
        self._data_dir, self.folder = data_dir, data_dir / "hub_jobs"

    def write(self, job: HubJob) -> None:
        """Store the job, so that a lab that starts later finds it. Raises LabErrors for a full disk."""
        with on_disk(self._data_dir):
            folder = self.folder / (job.owner or _HOST)
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write.write_file(folder / f"{job.id}.json", json.dumps(dataclasses.asdict(job)))

    def read(self, owners: Collection[str | None] | None) -> list[HubJob]:
        """The jobs of these people, of all where ``owners`` is None, newest first."""
        named = (self.folder / (each or _HOST) for each in owners or ())
        folders = self.folder.glob("*") if owners is None else named
        jobs = [job for folder in folders for file in folder.glob("*.json") if (job := _read(file))]
        return sorted(jobs, key=lambda job: job.created, reverse=True)

    def make_room(self, owner: str | None) -> None:
        """Forget the owner's oldest ended jobs beyond ``MAX_KEPT``. Raises BusyError where none has ended."""
        jobs = self.read([owner])
        ended = [job for job in jobs if job.ended]
        for _ in range(len(jobs) - MAX_KEPT + 1):
            if not ended:
                raise BusyError(f"{len(jobs)} jobs have not ended: wait for one, or cancel one.")
            (self.folder / (owner or _HOST) / f"{ended.pop().id}.json").unlink(missing_ok=True)


def _read(file: Path) -> HubJob | None:
    try:
        return HubJob(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        # One damaged file hides one job here; the Hub has it still.
        log.warning("the state of a Hub job cannot be read (%s): %s", file.name, error)
        return None
