"""The history of runs, as each viewer may see and change it.

Another viewer's private run is as if it did not exist. Every method takes the viewer first.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any

from ..config.run_config import RunConfig
from ..config.viewer import Viewer
from ..data.sources import hub_repository
from ..errors import DataError, NotFoundError, NotYoursError
from ..pretrained.hub_access import Access as HubAccess
from ..runs.annotations import read_name, read_notes, read_tags
from ..runs.diagnostics import FindingsCache
from ..runs.examples import put_recorded, recorded_on
from ..runs.machine_paths import last_name, message_to_share, shared
from ..runs.scrub import Scrub, scrub, without_own_prompts
from ..store.clock import Clock
from ..store.run import Run
from ..store.run_store import RunStore
from ..training.checkpoints import best_evaluation, checkpoints, step_of
from .access import Access
from .job_queue import Job
from .quota import EXPIRES, expires
from .types import Checkpoints, RunResult, RunState, RunSummary, TrashedRun
from .uploads import Uploads

OWN_DATA = "own_data"
"""The key in a run's provenance: True where it is made of an upload, or of what who started it alone may read on the
Hub."""
TRASH_SECONDS = 3600.0
"""How long a run stays in the trash, from where it can be restored."""


class Runs:
    """Reads and changes stored runs. ``diagnoses`` caches what is found in each."""

    def __init__(self, store: RunStore, access: Access, uploads: Uploads, clock: Clock):
        self._store, self._access, self._uploads, self._clock = store, access, uploads, clock
        self._findings = FindingsCache(store)

    # Who sees which run

    def get(self, viewer: Viewer, run_id: str) -> Run:
        """A run that ``viewer`` may see, without own prompts of somebody else.

        Raises NotFoundError, in the same words for none and for others'.
        """
        run = self._store.get(run_id)
        if not viewer.sees(run.owner):
            raise NotFoundError.of(run_id)
        return run if self._access.may_read_own_prompts(viewer, run) else without_own_prompts(run)

    def is_visible(self, viewer: Viewer, run_id: str | None) -> bool:
        """Whether there is such a run for ``viewer``: it may have been deleted, or be somebody else's."""
        try:
            return isinstance(run_id, str) and bool(self.get(viewer, run_id))
        except NotFoundError:
            return False

    def get_to_change(self, viewer: Viewer, run_id: str, verb: str) -> Run:
        """A run that ``viewer`` may change; ``verb`` says how. Raises NotFoundError or NotYoursError."""
        run = self.get(viewer, run_id)
        if not self._access.may_change(viewer, run):
            raise NotYoursError(f"Run {run.name} was started by somebody else: only they and the host can {verb} it.")
        return run

    def job_label(self, viewer: Viewer, job: Job) -> str:
        """What a queued job is, in words for ``viewer``."""
        return job.label if self.is_visible(viewer, job.about[1]) else "a visitor's private run"

    # Reading

    def config(self, viewer: Viewer, run_id: str) -> RunConfig:
        """The run's configuration."""
        return RunConfig.from_dict(self.get(viewer, run_id).config)

    def readable_config(self, viewer: Viewer, run_id: str) -> dict[str, Any]:
        """The run's configuration as JSON; for all but the host without a folder of this machine."""
        return _readable(viewer, self.get(viewer, run_id)).config

    def summaries(self, viewer: Viewer) -> list[RunSummary]:
        """All runs that ``viewer`` may see, newest first, without their metrics."""
        return [self._summary(viewer, run) for run in self._store.listed() if viewer.sees(run.owner)]

    def details(self, viewer: Viewer, run_id: str) -> dict[str, Any]:
        """A run with its configuration, metrics, events and evaluations."""
        run = self.get(viewer, run_id)
        readable = _readable(viewer, run)
        return {
            **self._summary(viewer, run),
            "config": readable.config,
            "facts": dict(readable.provenance),
            "checkpoints": self._checkpoints(run),
            "metrics": self._store.metrics(run_id),
            "samples": self.samples(viewer, run_id),
            "events": self.events(viewer, run_id),
            "changes": self._changes(viewer, run),
            "evaluations": self.evaluations(viewer, run_id),
            "findings": self._findings.of(run, self._store.last_metrics(run_id)),
        }

    def _changes(self, viewer: Viewer, run: Run) -> list[dict[str, Any]]:
        changes = self._store.changes(run.id)
        return (
            changes if viewer.host else [{**each, "reason": message_to_share(run, each["reason"])} for each in changes]
        )

    def status(self, viewer: Viewer, run_id: str) -> RunState:
        """Status, phase, step, the last metric of each kind and findings of a run."""
        run = self.get(viewer, run_id)
        last = self._store.last_metrics(run_id)
        return {
            "status": run.status,
            "phase": run.phase,
            "step": run.step,
            "total_steps": run.total_steps,
            "metrics": last,
            "findings": self._findings.of(run, last),
            "checkpoints": self._checkpoints(run),
            "message": _readable(viewer, run).message,
            "recorded": recorded_on(run.provenance),
            "private": run.owner is not None,
        }

    def metrics(self, viewer: Viewer, run_id: str, after: int = 0, kind: str | None = None) -> list[dict[str, Any]]:
        """Metrics with a ``seq`` greater than ``after``, of one kind or of all."""
        self.get(viewer, run_id)
        if not isinstance(after, int) or not -(2**63) <= after < 2**63:
            raise DataError("after must be a whole number: the last seq that was seen.")
        return self._store.metrics(run_id, after, kind)

    def last_metric(self, viewer: Viewer, run_id: str, kind: str) -> dict[str, Any] | None:
        """The run's last metric of a kind."""
        return self._store.last_metric(self.get(viewer, run_id).id, kind)

    def events(self, viewer: Viewer, run_id: str, last: int = 200) -> list[dict[str, Any]]:
        """The run's last events, oldest first: ``{time, text}``."""
        run = self.get(viewer, run_id)
        events = self._store.events(run.id, last)
        return events if viewer.host else [{**each, "text": message_to_share(run, each["text"])} for each in events]

    def samples(self, viewer: Viewer, run_id: str) -> list[dict[str, Any]]:
        """The model's answers to the run's first fixed prompt, by step: ``{step, time, prompt, text, ended}``.

        ``scrub`` has the answers to all prompts.
        """
        run = self.get(viewer, run_id)
        # Where all prompts are somebody else's own, there is none that ``viewer`` may read.
        if not (run.provenance.get("prompts") or "fixed_prompt" in run.provenance):
            return []
        return [sample for sample in self._store.samples(run.id) if sample["prompt"] == 0]

    def scrub(self, viewer: Viewer, run_id: str) -> Scrub:
        """What the run recorded, step by step: its prompts, and at each step answers, losses, BLEU, rate and tokens.

        Own prompts of somebody else, and the answers to them, are left out.
        """
        run = self.get(viewer, run_id)
        return scrub(run, self._store.metrics(run.id), self._store.samples(run.id))

    def evaluations(self, viewer: Viewer, run_id: str) -> list[dict[str, Any]]:
        """The run's evaluations, newest first."""
        rows = self._store.evaluations(self.get(viewer, run_id).id)
        return rows if viewer.host else [{**each, "predictions": last_name(each["predictions"])} for each in rows]

    def last_evaluations(self, viewer: Viewer) -> dict[str, dict[str, Any]]:
        """The last evaluation of every run that has one and that ``viewer`` may see, by run."""
        visible = {run_id for run_id, owner in self._store.owners().items() if viewer.sees(owner)}
        return {run_id: row for run_id, row in self._store.last_evaluations().items() if run_id in visible}

    def has_saved_adapter(self, viewer: Viewer, run_id: str) -> bool:
        """Whether the run has an adapter to export."""
        return (self._store.folder(self.get(viewer, run_id).id) / "adapter").is_dir()

    def result(self, viewer: Viewer, run_id: str) -> RunResult:
        """A run's outcome in numbers, computed from its stored metrics, so that it covers resumed parts too."""
        run = self.get(viewer, run_id)
        metrics = self._store.metrics(run_id)
        steps = [metric for metric in metrics if metric["kind"] == "train"]
        evals = [metric["eval_loss"] for metric in metrics if metric["kind"] == "eval"]
        tokens, seconds = sum(m["tokens"] for m in steps), sum(m["seconds"] for m in steps)
        folder = self._store.folder(run_id) / "adapter"
        return {
            "run_id": run_id,
            "status": run.status,
            "steps": run.step,
            "tokens": tokens,
            "train_loss": sum(m["loss"] for m in steps) / len(steps) if steps else None,
            "eval_loss": evals[-1] if evals else None,
            "tokens_per_second": tokens / seconds if seconds else None,
            "trainable_parameters": run.provenance.get("trainable_parameters"),
            "adapter": str(folder) if folder.is_dir() else None,
            "model_path": run.provenance.get("model_path"),
        }

    def traceback(self, viewer: Viewer, run_id: str) -> str | None:
        """Where in the code the run failed; None where it did not, and for those who may not read it."""
        run = self.get(viewer, run_id)
        return self._store.traceback(run.id) if self._access.may_read_traceback(viewer, run) else None

    def read_cache(self) -> AbstractContextManager[None]:
        """Inside, this thread reads nothing of the history twice: for a poll, which changes nothing."""
        return self._store.read_cache()

    def version(self) -> tuple[int, int]:
        """A value that changes with everything in the history."""
        return self._store.version()

    # Changing

    def rename(self, viewer: Viewer, run_id: str, name: str) -> None:
        """Give a run another name; an empty one leaves it as it is."""
        name = read_name(name)
        run = self.get_to_change(viewer, run_id, "rename")
        self._store.update(run.id, name=name or run.name)
        self._keep_for_host(viewer, run)

    def annotate(self, viewer: Viewer, run_id: str, tags: Any, notes: Any) -> None:
        """Replace a run's tags (a text with commas, or a list) and notes. Raises DataError beyond their limits."""
        kept, text = read_tags(tags), read_notes(notes)
        run = self.get_to_change(viewer, run_id, "annotate")
        self._store.update(run.id, tags=json.dumps(kept), notes=text)
        self._keep_for_host(viewer, run)

    def is_shared(self, viewer: Viewer, run_id: str | None) -> bool | None:
        """Whether the run is shared; None where it is not ``viewer``'s to share, or made of public data."""
        if not self.is_visible(viewer, run_id):
            return None
        run = self._store.get(str(run_id))
        owner = self._maker(run)
        return run.owner is None if owner is not None and viewer.sees(owner) else None

    def share(self, viewer: Viewer, run_id: str, shared: bool) -> None:
        """Show a run made of own data to everyone, with its answers; or to whose data it is alone again."""
        run = self.get(viewer, run_id)
        owner = self._maker(run)
        if owner is None:
            raise DataError(f"Run {run.name} is made of public data: everyone sees it.")
        if not viewer.sees(owner):
            raise NotYoursError(f"Run {run.name} is made of somebody else's data: only they can share it.")
        self._store.update(run.id, owner=None if shared else owner)
        self._keep_for_host(viewer, run)

    def may_publish_rows(self, viewer: Viewer, run_id: str) -> bool:
        """Whether rows of the run's data, which not everybody can get, are ``viewer``'s to publish."""
        owner = self._maker(self.get(viewer, run_id))
        return viewer.host or not self._access.multi_user or (owner is not None and viewer.sees(owner))

    # The trash

    def trash(self, viewer: Viewer, run_id: str) -> None:
        """Delete a run so that it can be restored for an hour."""
        self._store.trash(self.get_to_change(viewer, run_id, "delete").id, at=self._clock.now())

    def restore(self, viewer: Viewer, run_id: str) -> None:
        """Undo ``trash``. Raises NotFoundError where it is too late."""
        run = self._store.get_trashed(run_id)
        if not self._may_restore(viewer, run):
            raise NotYoursError("That run was somebody else's: only they and the host can bring it back.")
        self._store.restore(run.id)

    def trashed(self, viewer: Viewer) -> list[TrashedRun]:
        """Deleted runs that ``viewer`` may restore, the last deleted first: ``{id, name, seconds_left}``."""
        runs = [run for run in self._store.trashed() if self._may_restore(viewer, run)]
        now = self._clock.now()
        # A clock that was set between two starts would give years, or less than nothing.
        left = [min(max(0.0, (run.binned or 0.0) + TRASH_SECONDS - now), TRASH_SECONDS) for run in runs]
        return [{"id": run.id, "name": run.name, "seconds_left": each} for run, each in zip(runs, left, strict=True)]

    def restore_examples(self, viewer: Viewer) -> None:
        """Bring back the recorded runs that were deleted in this lab. Raises NotYoursError for a visitor."""
        if self._access.multi_user and not viewer.host:
            raise NotYoursError("The host deleted the recorded runs here, and only they can bring them back.")
        put_recorded(self._store, again=True)

    def has_private_rows(self, run: Run) -> bool:
        """Whether the texts of the run's rows are somebody's own.

        They are unless the rows come with the lab, or are on the Hub for everybody. A dataset of the Hub that nobody
        can look up now counts as private, unless the Hub gave it without a token before.
        """
        if recorded_on(run.provenance) is not None:
            return False
        source = run.config["data"]["source"]
        if run.provenance.get(OWN_DATA):
            return True
        repository = hub_repository(source)
        return source != "bundled" and not (repository and HubAccess("dataset", repository).is_for_everybody())

    # Helpers

    def _may_restore(self, viewer: Viewer, run: Run) -> bool:
        return viewer.sees(run.owner) and self._access.may_change(viewer, run)

    def _maker(self, run: Run) -> str | None:
        """Whose data the run, or one that it continues, was made of, or who imported it; None for public data."""
        starter = run.started_by if run.provenance.keys() & {"imported", OWN_DATA} else None
        owner = self._uploads.owner(run.config["data"]["source"]) or starter or run.owner
        if owner is None and run.parent and self._store.has(run.parent):
            return self._maker(self._store.get(run.parent))
        return owner

    def _keep_for_host(self, viewer: Viewer, run: Run) -> None:
        """A visitor's run that the host has changed is not removed after a time."""
        if viewer.host and expires(run):
            self._store.update(run.id, provenance={EXPIRES: False})

    def _summary(self, viewer: Viewer, run: Run) -> RunSummary:
        readable = _readable(viewer, run)
        return {
            "id": run.id,
            "name": run.name,
            "status": run.status,
            "phase": run.phase,
            "message": readable.message,
            "step": run.step,
            "total_steps": run.total_steps,
            "created": run.created,
            "ended": run.ended,
            "model": readable.config["model"],
            "source": readable.config["data"]["source"],
            "error_kind": run.error_kind,
            "parent": run.parent,
            "parent_name": (run.provenance.get("parent") or {}).get("name"),
            "tags": list(run.tags),
            "notes": run.notes,
            "recorded": recorded_on(run.provenance),
            "imported": "imported" in run.provenance,
            "private": run.owner is not None,
            "yours": viewer.host or run.started_by in viewer.ids,
        }

    def _checkpoints(self, run: Run) -> Checkpoints:
        """The last checkpoint on disk, the best of all evaluations, and the step whose adapter was kept.

        The best step may have no checkpoint: not every evaluation writes one, and an example comes without its last.
        """
        losses = {metric["step"]: metric["eval_loss"] for metric in self._store.metrics(run.id, kind="eval")}
        steps = [step_of(path) for path in checkpoints(self._store.folder(run.id))]
        best, kept = best_evaluation(list(losses.items())), run.provenance.get("kept_step")
        return {
            "last": {"step": steps[-1], "eval_loss": losses.get(steps[-1])} if steps else None,
            "best": {"step": best[0], "eval_loss": best[1], "saved": best[0] in (*steps, kept)} if best else None,
            "kept": kept,
        }


def _readable(viewer: Viewer, run: Run) -> Run:
    """The run as ``viewer`` may read it: the host with all paths, everybody else as it leaves the lab."""
    return run if viewer.host else shared(run)
