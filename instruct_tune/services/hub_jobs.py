"""Runs on the Hub's machines, in a person's name: started for a price that they agreed to, followed, and brought back.

A job goes on when the lab does not: its state is in a file, its log on the Hub. The token is held by the thread that
follows the job and by nothing else, so after a restart its person gives it again.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from ..config.catalog import TINY_MODEL
from ..config.run_config import RunConfig
from ..config.viewer import Viewer
from ..data.sources import is_on_hub
from ..errors import BusyError, DataError, ModelError, NotFoundError
from ..pretrained import hub_jobs
from ..pretrained.hub_jobs import Flavor
from ..pretrained.hub_token import HubToken
from ..runs.machine_paths import is_path, last_name, source_to_share
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
from ..text.plain_text import shown
from ..util.progress import Loading
from .access import Access
from .configurations import Config, Configurations
from .hub_job_follower import Files, Follower, Surroundings
from .runs import Runs
from .scripts import Scripts
from .transfers import Transfers
from .uploads import Uploads

MAX_MINUTES = 7 * 24 * 60
MAX_LIVE, MAX_LIVE_EACH = 16, 3
"""How many jobs are followed at once, by everybody and by one person."""
MAX_FOLLOWERS = 64
"""The jobs whose log and last fault are remembered, until the process ends."""
UPDATE_SECONDS = 0.3
_WORDS = {
    STARTING: "Its script is being sent to {repo}.",
    SENDING: "The Hub was asked to start it and has not answered yet.",
    QUEUED: "It waits for a machine.",
    RUNNING: "It runs.",
    ARRIVING: "It is done on the Hub, and its run is being brought back.",
    DONE: "It is done, and back as a run.",
    FAILED: "It failed on the Hub, and its log says why; what it put into {repo} stays there.",
    CANCELLED: "It was cancelled.",
    REFUSED: "It was not started, and costs nothing.",
    LOST: "The Hub knows this job no more; what it put into {repo} is there still, if nobody removed it.",
}
_GO_ON = "The lab does not follow it at the moment: Go on finds it again, with the token where you gave one."


class JobView(TypedDict):
    """A job as its person sees it. ``fault``: what went wrong last; ``log``: its last lines, while it is followed."""

    job_id: str
    run_id: str | None
    name: str
    flavor: str
    minutes: int
    at_most_usd: float
    status: str
    message: str
    fault: str
    url: str | None
    repo: str
    brought: str | None
    followed: bool
    ended: bool
    log: list[str]


class HubJobs:
    """Owns the jobs' files and the threads that follow jobs."""

    def __init__(
        self,
        data_dir: Path,
        store: RunStore,
        runs: Runs,
        access: Access,
        configs: Configurations,
        uploads: Uploads,
        scripts: Scripts,
        transfers: Transfers,
        closing: threading.Event,
    ):
        self._files, self._runs, self._access = JobFiles(data_dir), runs, access
        self._configs, self._uploads, self._scripts, self._closing = configs, uploads, scripts, closing
        self._surroundings = Surroundings(self._files, store, configs, transfers, closing)
        self._followers: dict[str, Follower] = {}
        self._lock = threading.Lock()

    # Before it is started

    def prices(self, own: HubToken) -> list[Flavor]:
        """The Hub's machines with what they cost."""
        return hub_jobs.flavors(own)

    def quote(self, own: HubToken, flavor: str, minutes: Any) -> float:
        """The most that a job costs, in US dollars: its machine for the whole time. Raises DataError."""
        if not isinstance(minutes, int) or isinstance(minutes, bool) or not 1 <= minutes <= MAX_MINUTES:
            raise DataError(f"minutes must be a whole number from 1 to {MAX_MINUTES:,}: the Hub ends the job then.")
        known = {each.name: each for each in self.prices(own)}
        if not isinstance(flavor, str) or flavor not in known:
            raise DataError(f"{shown(flavor)} is no machine of the Hub: choose one of {', '.join(known)}.")
        if own.expires_at is not None and own.expires_at - time.time() < 60 * minutes:
            raise DataError("Your sign-in ends before the job has to: choose fewer minutes, or paste a token.")
        return known[flavor].price(minutes)

    def start(
        self,
        viewer: Viewer,
        run_id: str | None,
        flavor: str,
        minutes: int,
        at_most_usd: Any,
        own: HubToken,
        config: Config | None = None,
    ) -> JobView:
        """Start a run anew, or without a ``run_id`` a configuration, as a job of the token's account.

        ``at_most_usd`` is the price that its person agreed to; where the Hub's is higher, DataError says it and
        nothing is started. Raises LabErrors for what is wrong before anything is sent.
        """
        trained, name = self._trained(viewer, run_id, config)
        rows = self._rows_file(trained)
        price = self.quote(own, flavor, minutes)
        if not isinstance(at_most_usd, (int, float)) or isinstance(at_most_usd, bool) or not price <= at_most_usd:
            raise DataError(f"{flavor} for {minutes:,} minutes costs at most ${price:,.2f}: agree to that first.")
        namespace, job_id = hub_jobs.account(own, Loading(self._closing.is_set)), self._id(viewer, run_id)
        job = HubJob(
            job_id,
            run_id or None,
            name,
            None if viewer.host else viewer.id,
            namespace,
            f"{namespace}/instruction-tuning-{job_id}",
            flavor,
            minutes,
            price,
            time.time(),
            data=trained.to_dict()["data"] if rows else None,
        )
        script = self._scripts.of_job(viewer, run_id or None, trained, job.repo)
        files: Files = {hub_jobs.SCRIPT: script.encode(), **rows}
        return self._begin(viewer, job, own, files)

    # While it runs

    def jobs(self, viewer: Viewer) -> list[JobView]:
        """The viewer's jobs, newest first."""
        return [self._view(job) for job in self._stored(viewer)]

    def get(self, viewer: Viewer, job_id: str) -> JobView:
        """One of the viewer's jobs. Raises NotFoundError, in the same words for none and for others'."""
        return self._view(self._job(viewer, job_id))

    def of(self, viewer: Viewer, run_id: str | None) -> JobView | None:
        """The viewer's last job of a run."""
        return next((self._view(job) for job in self._stored(viewer) if run_id and job.run_id == run_id), None)

    def go_on(self, viewer: Viewer, job_id: str, own: HubToken) -> JobView:
        """Follow a job again, after the lab was closed or the token refused, until its run is back."""
        job = self._job(viewer, job_id)
        return self._view(job) if job.ended or self._is_followed(job) else self._begin(viewer, job, own, {})

    def cancel(self, viewer: Viewer, job_id: str, own: HubToken | None = None) -> None:
        """End a job on the Hub; one that is not sent yet is not sent. What it cost until now is not given back.

        ``own``: needed where the lab does not follow the job.
        """
        job, follower = self._job(viewer, job_id), self._followers.get(job_id)
        if job.ended or job.status == ARRIVING:
            return
        if follower is None or not follower.is_alive:
            if own is None:
                raise DataError("The lab does not follow this job at the moment: give the token to cancel it.")
            self.go_on(viewer, job_id, own)
        self._followers[job_id].cancel()

    def stream(self, viewer: Viewer, job_id: str) -> Iterator[JobView]:
        """A job as it changes, until nothing follows it any more. It goes on when nobody reads."""
        seen = None
        while (now := self.get(viewer, job_id))["followed"]:
            if now != seen:
                yield now
                seen = now
            self._closing.wait(UPDATE_SECONDS)
        # Read again: it may have changed between the look at its state and the one at its thread.
        yield self.get(viewer, job_id)

    # Helpers

    def _trained(self, viewer: Viewer, run_id: str | None, config: Config | None) -> tuple[RunConfig, str]:
        """The configuration that the job trains, and its name. Raises LabErrors where a job cannot."""
        run = self._runs.get(viewer, run_id) if run_id else None
        if not viewer.host and viewer.id is None:
            raise DataError("The lab does not know whose job that is: reload the page, then start it again.")
        # Read like a new run's: the rows of a shared run may be somebody else's.
        trained = self._configs.read(viewer, RunConfig.from_dict(run.config) if run else config or {})
        if trained.model == TINY_MODEL or is_path(trained.model) or os.path.isdir(trained.model):
            raise ModelError(
                f"The base model {last_name(trained.model)} is not on the Hub, where a job gets it: choose one that is."
            )
        return trained, run.name if run else "A configuration"

    def _rows_file(self, config: RunConfig) -> Files:
        """The file of the rows by its name beside the script, where they are not on the Hub or in the script."""
        source = config.data.source
        if source == "bundled" or is_on_hub(source):
            return {}
        self._uploads.require_present(source)
        file = Path(source).expanduser()
        if not file.is_file():
            raise DataError(f"The rows of {last_name(source)} are gone: choose others.")
        return {source_to_share(source): file}

    def _id(self, viewer: Viewer, run_id: str | None) -> str:
        """A new id, or that of the run's last job where it was not started: its repository is there already."""
        last = self.of(viewer, run_id)
        return last["job_id"] if last and last["status"] == REFUSED else secrets.token_hex(6)

    def _stored(self, viewer: Viewer) -> list[HubJob]:
        everybody = not self._access.multi_user
        jobs = self._files.read(None if everybody else [None, *viewer.ids] if viewer.host else viewer.ids)
        return [each.job if (each := self._followers.get(job.id)) and each.is_alive else job for job in jobs]

    def _job(self, viewer: Viewer, job_id: str) -> HubJob:
        for job in self._stored(viewer):
            if job.id == job_id:
                return job
        raise NotFoundError("You have no such job: see the list of jobs for their ids.")

    def _is_followed(self, job: HubJob) -> bool:
        follower = self._followers.get(job.id)
        return follower is not None and follower.is_alive

    def _view(self, job: HubJob) -> JobView:
        follower, followed = self._followers.get(job.id), self._is_followed(job)
        words = [_WORDS[job.status].format(repo=job.repo), job.message]
        words += [] if followed or job.ended else [_GO_ON]
        return {
            "job_id": job.id,
            "run_id": job.run_id,
            "name": job.name,
            "flavor": job.flavor,
            "minutes": job.minutes,
            "at_most_usd": job.at_most_usd,
            "status": job.status,
            "message": " ".join(filter(None, words)),
            "fault": follower.fault if follower else "",
            "url": hub_jobs.address(job.namespace, job.hub_id) if job.hub_id else None,
            "repo": job.repo,
            "brought": job.brought,
            "followed": followed,
            "ended": job.ended,
            "log": list(follower.log) if follower else [],
        }

    def _begin(self, viewer: Viewer, job: HubJob, own: HubToken, files: Files) -> JobView:
        follower = Follower(job, viewer, self._surroundings)
        with self._lock:
            if self._is_followed(job):
                # Somebody pressed twice, or in two windows.
                return self._view(self._followers[job.id].job)
            live = [each.job for each in self._followers.values() if each.is_alive]
            mine = [each for each in live if each.owner == job.owner]
            if len(live) >= MAX_LIVE or len(mine) >= MAX_LIVE_EACH:
                raise BusyError(f"The lab follows {len(live)} jobs already, {len(mine)} of yours: wait for one.")
            if files:
                self._files.make_room(job.owner)
                self._files.write(job)
            over = [job_id for job_id, each in self._followers.items() if not each.is_alive]
            for forgotten in over[:-MAX_FOLLOWERS]:
                del self._followers[forgotten]
            self._followers[job.id] = follower
            follower.start(own, files)
        return self._view(job)
