"""Runs as they can be looked at, and by whom. Everybody else's private runs are as if they did not exist."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import RunConfig
from ..config.viewer import HOST, Viewer
from ..errors import DataError, NotFoundError
from ..export.machine_paths import last_name, message_to_share, shared
from ..runs.diagnostics import Diagnoses
from ..runs.examples import recorded_on
from ..store.run_store import Run, RunStore
from ..training.checkpoints import best_evaluation, checkpoints, step_of
from .datasets import Views

if TYPE_CHECKING:
    from ..export.figures import Subject


class History(Views):
    """The part of the lab that reads its history. ``viewer`` is who looks, everywhere."""

    store: RunStore
    diagnoses: Diagnoses

    def visible_run(self, run_id: str, viewer: Viewer = HOST) -> Run:
        """A run that is there for ``viewer``. Raises NotFoundError, in the same words, for none and for others'."""
        run = self.store.get(run_id)
        if not viewer.sees(run.owner):
            raise NotFoundError.of(run_id)
        return run

    def sees_run(self, run_id: str | None, viewer: Viewer = HOST) -> bool:
        """Whether there is such a run for ``viewer``; it may have been deleted, or be somebody else's."""
        try:
            return isinstance(run_id, str) and bool(self.visible_run(run_id, viewer))
        except NotFoundError:
            return False

    def run_config(self, run_id: str, viewer: Viewer = HOST) -> RunConfig:
        """The run's configuration."""
        return RunConfig.from_dict(self.visible_run(run_id, viewer).config)

    def told_config(self, run_id: str, viewer: Viewer = HOST) -> dict[str, Any]:
        """The run's configuration to be read: for all but the host without a folder of this machine."""
        return _readable(self.visible_run(run_id, viewer), viewer).config

    def list_runs(self, viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """All runs that are there for ``viewer``, newest first, without their metrics."""
        return [self._told(run, viewer) for run in self.store.listed() if viewer.sees(run.owner)]

    def show_run(self, run_id: str, viewer: Viewer = HOST) -> dict[str, Any]:
        """A run with its configuration, metrics, events and evaluations."""
        run = self.visible_run(run_id, viewer)
        readable = _readable(run, viewer)
        return {
            **self._told(run, viewer),
            "config": readable.config,
            "facts": dict(readable.facts),
            "checkpoints": self._checkpoints(run),
            "metrics": self.store.metrics(run_id),
            "samples": self.store.samples(run_id),
            "events": self.run_events(run_id, viewer=viewer),
            "changes": self.store.changes(run_id),
            "evaluations": self.run_evaluations(run_id, viewer),
            "findings": self.diagnoses.of(run, self.store.last_metrics(run_id)),
        }

    def _told(self, run: Run, viewer: Viewer) -> dict[str, Any]:
        readable = _readable(run, viewer)
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
            "parent_name": (run.facts.get("parent") or {}).get("name"),
            "tags": list(run.tags),
            "notes": run.notes,
            "recorded": recorded_on(run.facts),
            "imported": "imported" in run.facts,
            "private": run.owner is not None,
            "yours": viewer.host or (viewer.id is not None and run.started_by == viewer.id),
        }

    def run_status(self, run_id: str, viewer: Viewer = HOST) -> dict[str, Any]:
        """Where a run stands: status, phase, step, the last metric of each kind, seconds left, what to look at."""
        run = self.visible_run(run_id, viewer)
        last = self.store.last_metrics(run_id)
        return {
            "status": run.status,
            "phase": run.phase,
            "step": run.step,
            "total_steps": run.total_steps,
            "metrics": last,
            "findings": self.diagnoses.of(run, last),
            "eta_seconds": self._seconds_left(run),
            "checkpoints": self._checkpoints(run),
            "message": _readable(run, viewer).message,
            "recorded": recorded_on(run.facts),
            "private": run.owner is not None,
        }

    def _seconds_left(self, run: Run) -> float | None:
        """Steps left times the mean time of the last ones; None before the first step and after the end."""
        steps = self.store.metrics(run.id, kind="train", last=10)
        if not run.live or not steps:
            return None
        return (run.total_steps - run.step) * sum(m["seconds"] for m in steps) / len(steps)

    def _checkpoints(self, run: Run) -> dict[str, Any]:
        """The last and the best checkpoint on disk as ``{step, eval_loss}``, and whose adapter was kept (a step).

        ``best`` has the lowest evaluation loss; without any evaluation at a checkpoint it is None.
        """
        losses = {metric["step"]: metric["eval_loss"] for metric in self.store.metrics(run.id, kind="eval")}
        steps = [step_of(path) for path in checkpoints(self.store.folder(run.id))]
        best = best_evaluation([(step, losses[step]) for step in steps if step in losses])
        return {
            "last": {"step": steps[-1], "eval_loss": losses.get(steps[-1])} if steps else None,
            "best": {"step": best[0], "eval_loss": best[1]} if best else None,
            "kept": run.facts.get("kept_step"),
        }

    def run_metrics(self, run_id: str, after: int = 0, viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """Metrics with a ``seq`` greater than ``after``."""
        self.visible_run(run_id, viewer)
        if not isinstance(after, int) or not -(2**63) <= after < 2**63:
            raise DataError("after must be a whole number: the last seq that was seen.")
        return self.store.metrics(run_id, after)

    def run_events(self, run_id: str, last: int = 200, viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """The run's last events in words, oldest first: ``{time, text}``."""
        run = self.visible_run(run_id, viewer)
        events = self.store.events(run.id, last)
        return events if viewer.host else [{**each, "text": message_to_share(run, each["text"])} for each in events]

    def run_samples(self, run_id: str, viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """What the model answered to the run's fixed prompt, by step: ``{step, time, text, ended}``."""
        return self.store.samples(self.visible_run(run_id, viewer).id)

    def run_evaluations(self, run_id: str, viewer: Viewer = HOST) -> list[dict[str, Any]]:
        """The run's evaluations, newest first."""
        found = self.store.evaluations(self.visible_run(run_id, viewer).id)
        return found if viewer.host else [{**each, "predictions": last_name(each["predictions"])} for each in found]

    def last_evaluations(self, viewer: Viewer = HOST) -> dict[str, dict[str, Any]]:
        """The last evaluation of every run that has one and is there for ``viewer``, by run."""
        seen = {run_id for run_id, owner in self.store.owners().items() if viewer.sees(owner)}
        return {run_id: told for run_id, told in self.store.last_evaluations().items() if run_id in seen}

    def last_metric(self, run_id: str, kind: str, viewer: Viewer = HOST) -> dict[str, Any] | None:
        """The run's last metric of a kind."""
        return self.store.last_metric(self.visible_run(run_id, viewer).id, kind)

    def has_saved_adapter(self, run_id: str, viewer: Viewer = HOST) -> bool:
        """Whether the run has an adapter to export."""
        return (self.store.folder(self.visible_run(run_id, viewer).id) / "adapter").is_dir()

    def glance(self) -> AbstractContextManager[None]:
        """Inside, this thread reads nothing of the history twice; for what is asked much and changes nothing."""
        return self.store.glance()

    def version(self) -> tuple[int, int]:
        """Another value once anything in the history has changed."""
        return self.store.version()

    def run_result(self, run_id: str, viewer: Viewer = HOST) -> dict[str, Any]:
        """A run's outcome in numbers, computed from its stored metrics (so it covers resumed parts too)."""
        run = self.visible_run(run_id, viewer)
        metrics = self.store.metrics(run_id)
        steps = [metric for metric in metrics if metric["kind"] == "train"]
        evals = [metric["eval_loss"] for metric in metrics if metric["kind"] == "eval"]
        tokens, seconds = sum(m["tokens"] for m in steps), sum(m["seconds"] for m in steps)
        folder = self.store.folder(run_id) / "adapter"
        return {
            "run_id": run_id,
            "status": run.status,
            "steps": run.step,
            "tokens": tokens,
            "train_loss": sum(m["loss"] for m in steps) / len(steps) if steps else None,
            "eval_loss": evals[-1] if evals else None,
            "tokens_per_second": tokens / seconds if seconds else None,
            "trainable_parameters": run.facts.get("trainable_parameters"),
            "adapter": str(folder) if folder.is_dir() else None,
            "model_path": run.facts.get("model_path"),
        }

    def export_run(self, run_id: str, to: Path, viewer: Viewer = HOST) -> Path:
        """Write the run's adapter, card, configuration and loss plot as a zip."""
        from ..export.adapter_zip import export_zip

        return export_zip(self.store, shared(self.visible_run(run_id, viewer)), to)

    def plot_losses(self, run_id: str, to: Path, viewer: Viewer = HOST) -> Path:
        """Write the run's losses as a plot; ``to`` ends in .png or .svg."""
        from ..export.figures import form_of, loss_plot, save

        run, form = self.visible_run(run_id, viewer), form_of(to)
        return save(to, loss_plot(self.store.metrics(run_id), _subject(run), form))

    def plot_scores(self, run_id: str, to: Path, seq: int | None = None, viewer: Viewer = HOST) -> Path:
        """Write the scores of one of the run's evaluations, by its ``seq`` (None: the last one), as a plot."""
        from ..export.figures import form_of, save, score_plot

        run, form = self.visible_run(run_id, viewer), form_of(to)
        for found in self.store.evaluations(run_id):
            if seq in (None, found["seq"]):
                return save(to, score_plot(found, _subject(run), form))
        raise DataError(f"Run {run.name} has no such evaluation: evaluate it first.")


def _readable(run: Run, viewer: Viewer) -> Run:
    """The run as ``viewer`` may read it: the host with all paths, everybody else as it leaves the lab."""
    return run if viewer.host else shared(run)


def _subject(run: Run) -> Subject:
    from ..export.figures import subject

    outgoing = shared(run)
    return subject(run.name, outgoing.config, outgoing.facts)
