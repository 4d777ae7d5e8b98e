"""Pushes runs to the Hub, and asks what arrived there the same questions as the run.

The network is waited for on a thread of the push's own: only the questions are work for the thread that owns torch.
"""

from __future__ import annotations

import contextvars
import logging
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from ..config.viewer import Viewer
from ..data.sources import HUB_PREFIX
from ..errors import BusyError, DataError, LabError, ModelError, NotYoursError, Stopped
from ..export import hub_repository
from ..export.hub_repository import ROWS_FILE
from ..models.lora import CONFIG_FILE, WEIGHTS_FILE
from ..pretrained import hub_upload
from ..pretrained.hub_access import Access as HubAccess
from ..pretrained.hub_token import HubToken
from ..runs.machine_paths import exported
from ..store.run import Run
from ..store.run_store import RunStore
from ..text.plain_text import counted
from ..util.hashing import sha256_of_file
from ..util.progress import Loading
from .access import Access, submitter
from .evaluations import Evaluations
from .inference import Inference
from .runs import OWN_DATA, Runs
from .scripts import Scripts

log = logging.getLogger(__name__)
PROMPTS = 5
"""How many prompts the run and what arrived on the Hub both answer."""
FIXED_PROMPTS = (
    "Reverse a string in Python.",
    "Write a function that adds two numbers.",
    "Give three tips for staying healthy.",
    "What is the capital of France?",
    "Explain what a loop is.",
)
"""The prompts of a run that was never evaluated, so that no held-out rows are at hand."""
MAX_AT_ONCE = 8
MAX_KEPT = 64
"""The pushes whose outcome is remembered, until the process ends."""
UPDATE_SECONDS = 0.3


class PushResult(TypedDict):
    """A push that arrived.

    ``same_weights``: whether the downloaded weights are, byte for byte, those that were sent. ``same_answers``: how
    many of ``prompts`` greedy answers are the run's. Both are None where it could not be checked; ``message`` says why.
    """

    run_id: str
    repo: str
    url: str
    commit: str
    private: bool
    files: list[str]
    rows: bool
    notices: list[str]
    adapter_sha256: str
    same_weights: bool | None
    prompts: int
    same_answers: int | None
    message: str


@dataclass(eq=False)
class PushJob:
    """One push, under way or ended. ``by``: whose it is, None for the host's and those without a secret."""

    run_id: str
    repo: str
    by: str | None
    loading: Loading
    done: Future[PushResult] = field(default_factory=Future, repr=False)

    def progress(self) -> dict[str, Any]:
        """Where it stands: ``{phase, bytes, total_bytes, done}``."""
        loading = self.loading
        return {
            "phase": loading.phase,
            "bytes": loading.done if loading.total else None,
            "total_bytes": loading.total or None,
            "done": self.done.done(),
        }


@dataclass(frozen=True)
class _Request:
    """The push that a person requested. ``rows``: None where the data's licence decides."""

    viewer: Viewer
    run: Run
    private: bool
    rows: bool | None
    replace: bool


class Push:
    """Owns the pushes of this process. A token is held by the thread that uses it, and by nothing else."""

    def __init__(
        self,
        store: RunStore,
        runs: Runs,
        access: Access,
        evaluations: Evaluations,
        inference: Inference,
        scripts: Scripts,
        closing: threading.Event,
    ):
        self._store, self._runs, self._access, self._evaluations = store, runs, access, evaluations
        self._inference, self._scripts, self._closing = inference, scripts, closing
        self._jobs: deque[PushJob] = deque(maxlen=MAX_KEPT)
        self._lock = threading.Lock()

    def notices(self, viewer: Viewer, run_id: str) -> list[str]:
        """What to know before the run is pushed, a sentence each."""
        return hub_repository.notices(exported(self._runs.get(viewer, run_id)))

    def start(
        self,
        viewer: Viewer,
        run_id: str,
        to: str,
        own: HubToken,
        *,
        private: bool = False,
        rows: bool | None = None,
        replace: bool = False,
        follow: Callable[[str], object] | None = None,
    ) -> PushJob:
        """Begin to push the run to ``to`` (OWNER/NAME) with the token ``own``.

        ``rows``: whether the rows of the last evaluation go along; None: where everybody can get the data, under a
        licence that allows it. ``replace``: put the run in place of what the repository holds. ``follow`` hears of
        the upload. Raises LabErrors for what is wrong before the first request to the Hub.
        """
        repo, run = hub_repository.checked_name(to), self._runs.get(viewer, run_id)
        if run.live:
            raise DataError(f"Run {run.name} is still at work: push it when it has ended.")
        if not self._runs.has_saved_adapter(viewer, run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter to push: train it first.")
        job = PushJob(run_id, repo, submitter(viewer), Loading(self._closing.is_set, follow))
        self._enter(job)
        request = _Request(viewer, run, bool(private), rows if rows is None else bool(rows), bool(replace))
        # In a copy of the request's context: the token that reads the Hub, and whose request it is.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run, job, request, own), name="push", daemon=True).start()
        return job

    def follow(self, job: PushJob) -> Iterator[dict[str, Any]]:
        """The progress of a push as it changes, then its result. Raises LabErrors; it goes on when nobody reads."""
        seen = None
        while wait([job.done], UPDATE_SECONDS).not_done:
            if (now := job.progress()) != seen:
                yield now
                seen = now
        yield {**self.result(job), "done": True}

    def result(self, job: PushJob) -> PushResult:
        """The result of a push, once it is there. Raises LabErrors."""
        try:
            return job.done.result()
        except Stopped:
            raise LabError("Stopped: nothing was committed. Push again to go on.") from None

    def of(self, viewer: Viewer, run_id: str | None) -> PushJob | None:
        """The viewer's last push of a run: its target may be a private repository, so nobody else's."""
        with self._lock:
            jobs = [job for job in self._jobs if job.run_id == run_id and self._is_own(viewer, job)]
        return jobs[-1] if jobs else None

    def stop(self, viewer: Viewer, run_id: str | None) -> None:
        """Stop the viewer's push of the run; once the commit is made it stays."""
        if job := self.of(viewer, run_id):
            job.loading.stop()

    def _enter(self, job: PushJob) -> None:
        with self._lock:
            under_way = [each for each in self._jobs if not each.done.done()]
            if any(each.by == job.by for each in under_way):
                raise BusyError("Another run is being pushed: wait until it is there, or stop it.")
            if len(under_way) >= MAX_AT_ONCE:
                raise BusyError(f"{len(under_way)} runs are being pushed already: try again when some are there.")
            self._jobs.append(job)

    def _is_own(self, viewer: Viewer, job: PushJob) -> bool:
        return not self._access.multi_user or (job.by in viewer.ids if job.by else viewer.host)

    # On the push's thread

    def _run(self, job: PushJob, request: _Request, own: HubToken) -> None:
        job.done.set_running_or_notify_cancel()
        try:
            result = self._work(job, request, own)
        except BaseException as error:  # the thread's boundary: who waits gets it
            if not isinstance(error, LabError | Stopped):
                log.exception("a push failed")
            # Frames of the traceback and requests of the causes hold the token.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            job.done.set_exception(error)
        else:
            job.done.set_result(result)

    def _work(self, job: PushJob, request: _Request, own: HubToken) -> PushResult:
        viewer, run, loading = request.viewer, exported(request.run), job.loading
        loading.enter("Writing the card and the script")
        rows = self._rows(request)
        script = self._scripts.of_run(viewer, run.id, "py")
        files = hub_repository.repository_files(self._store, run, job.repo, script, rows)
        digest = sha256_of_file(self._store.folder(run.id) / "adapter" / WEIGHTS_FILE)
        commit = hub_upload.upload(
            job.repo,
            files,
            own,
            lambda present: hub_repository.to_remove(job.repo, present, files, request.replace),
            loading,
            private=request.private,
        )
        checked = self._checked(job, request, own, commit.commit, digest)
        kind = "private" if commit.private else "public"
        log.info("pushed run %s to %s", run.id, job.repo)
        return PushResult(
            run_id=run.id,
            repo=job.repo,
            url=commit.url,
            commit=commit.commit,
            private=commit.private,
            files=sorted(files),
            rows=ROWS_FILE in files,
            notices=hub_repository.notices(run),
            adapter_sha256=digest,
            same_weights=checked.same_weights,
            prompts=checked.prompts,
            same_answers=checked.same_answers,
            message=f"{job.repo} ({kind}) has the run: {counted(len(files), 'file')}. {checked.sentence}",
        )

    def _checked(self, job: PushJob, request: _Request, own: HubToken, commit: str, digest: str) -> _Checked:
        """Load the adapter back from the commit, and ask it and the run the same prompts."""
        names = (CONFIG_FILE, WEIGHTS_FILE)
        try:
            with tempfile.TemporaryDirectory(prefix="lab-push-") as folder:
                job.loading.enter("Loading it back from the Hub")
                back = hub_upload.fetch_back(job.repo, names, commit, own, Path(folder), job.loading)
                if sha256_of_file(back / WEIGHTS_FILE) != digest:
                    return _Checked(False, 0, None, "What the Hub gives back are OTHER weights than were sent.")
                pairs, kind = self._prompts(request)
                job.loading.enter(f"Asking it {len(pairs)} prompts")
                answers = self._inference.beside_copy(request.viewer, job.run_id, back, pairs, job.loading.stop_request)
        except Stopped:
            return _Checked(None, 0, None, "It was stopped before it was loaded back, so it is not checked.")
        except LabError as error:
            return _Checked(None, 0, None, f"It is not checked: {error}")
        same = sum(ours == theirs for ours, theirs in answers)
        return _Checked(
            True,
            len(answers),
            same,
            f"Loaded back from the Hub it has the same weights (sha256 {digest[:12]}…), and {same} of {len(answers)} "
            f"answers to {kind} are the run's.",
        )

    def _prompts(self, request: _Request) -> tuple[list[tuple[str, str]], str]:
        """The first rows of the run's last evaluation, else fixed prompts; and what they are."""
        rows = self._evaluations.predictions(request.viewer, request.run.id)[:PROMPTS]
        if rows:
            return [(row["instruction"], row.get("input") or "") for row in rows], "its first held-out prompts"
        return [(text, "") for text in FIXED_PROMPTS], "fixed prompts"

    def _rows(self, request: _Request) -> Path | None:
        """The file with the rows of the last evaluation, if it goes along."""
        if request.rows is False:
            return None
        run, is_public = request.run, _is_public(request.run)
        file = self._evaluations.predictions_file(request.viewer, run.id)
        if request.rows is None:
            return file if is_public and hub_repository.may_redistribute(run.provenance.get("data_licence")) else None
        if not is_public and not self._runs.may_publish_rows(request.viewer, run.id):
            raise NotYoursError(f"The rows of run {run.name} are not yours to publish: push it without them.")
        if file is None:
            raise DataError(f"Run {run.name} has no evaluation: evaluate it first, or push it without rows.")
        return file


@dataclass(frozen=True)
class _Checked:
    """What became of the check, as in ``PushResult``, and in words."""

    same_weights: bool | None
    prompts: int
    same_answers: int | None
    sentence: str


def _is_public(run: Run) -> bool:
    """Whether everybody can get the run's data."""
    source = run.config["data"]["source"]
    if not source.startswith(HUB_PREFIX):
        return source in ("bundled", "codealpaca-20k")
    return not run.provenance.get(OWN_DATA) and HubAccess("dataset", source.removeprefix(HUB_PREFIX)).is_public()
