"""Runs: start, follow, stop, resume, rename, export, delete. One trains at a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoints import best_evaluation, checkpoints, step_of
from .disk import DiskUse
from .engine import Engine
from .errors import BusyError, DataError
from .recorded import recorded_on
from .store import DataLock, Run, RunStore, default_data_dir
from .views import Config, Views

if TYPE_CHECKING:
    from .runner import Runner


BIN_SECONDS = 3600.0
"""How long a deleted run can be brought back."""


class Runs(Views):
    """The part of the lab that trains, over one data folder.

    ``writing`` takes the folder's lock and marks what a former process left as interrupted; without
    it the lab only reads.
    """

    def __init__(self, data_dir: Path | None = None, *, writing: bool = True, local_paths: bool | None = None):
        super().__init__(data_dir or default_data_dir(), local_paths)
        self._lock = DataLock(self.data_dir) if writing else None
        self.store = RunStore(self.data_dir)
        self.engine = Engine()
        self._bench: Any = None
        self._runner: Runner | None = None
        self._training: Future[None] | None = None
        self._stop_requested: set[str] = set()
        self._discard: set[str] = set()
        self._closed = False
        self.disk = DiskUse(self.data_dir / "runs")
        self._emptying: threading.Timer | None = None
        if writing:
            self.store.interrupt_orphans()
            self.store.empty_bin(before=time.time())

    def close(self, timeout: float = 60.0) -> None:
        """Stop what is running, keep its adapter, and let go of the data folder."""
        if self._closed:
            return
        self._closed = True
        self.stop_loading()
        if self._lock:
            # A run that has not begun yet finds its stop when it does.
            self._stop_requested |= {run.id for run in self.store.all() if run.live}
        if self._emptying:
            self._emptying.cancel()
            self._emptying.join()
        if self._runner:
            self._runner.stop.set()
        self.engine.close()
        self.engine.join(timeout)
        self.store.close()
        if self._lock:
            self._lock.release()

    def start_run(self, config: Config, name: str = "") -> str:
        """Accept a run and start it. Raises BusyError while another long job is at work."""
        config = self.config(config)
        _check_name(name)
        self._refuse_if_busy()
        run = self.store.create(name.strip(), config.to_dict())
        self._launch(run, resume=False)
        return run.id

    def rename_run(self, run_id: str, name: str) -> None:
        """Give a run another name; an empty one leaves it as it is."""
        _check_name(name)
        run = self.store.get(run_id)
        self.store.update(run.id, name=name.strip() or run.name)

    def resume_run(self, run_id: str) -> str:
        """Go on with a run that was stopped, interrupted or failed, from its last checkpoint."""
        run = self.store.get(run_id)
        if run.live or run.status == "finished":
            raise BusyError(f"Run {run.name} is {run.status}: only one that ended early can be resumed.")
        # Before it counts as live: another version of the lab may have left it.
        self.config(run.config)
        self._launch(run, resume=True)
        return run.id

    def _refuse_if_busy(self) -> None:
        if self.engine.busy_with:
            raise BusyError(f"The lab is busy with {self.engine.busy_with}: wait until it is done, or stop it.")

    def _launch(self, run: Run, resume: bool) -> None:
        def job() -> None:
            self.wait_for_imports()
            from .runner import Runner

            runner = Runner(run, self.store, self.bench, self.engine)
            self._runner = runner
            if run.id in self._stop_requested:
                runner.stop.set()
            try:
                runner.execute(resume)
            finally:
                self._runner = None
                self._stop_requested.discard(run.id)
            if run.id in self._discard:
                self._discard.discard(run.id)
                self.store.delete(run.id)

        self.store.update(run.id, status="queued")
        try:
            self._training = self.engine.long(f"run {run.name}", job)
        except BusyError:
            # Somebody was faster; a run that never began leaves no trace, another stays as it was.
            self.store.update(run.id, status=run.status if resume else "failed")
            if not resume:
                self.store.delete(run.id)
            raise

    @property
    def bench(self) -> Any:
        """The workbench; only touched on the engine's thread."""
        from .workbench import Workbench

        if self._bench is None:
            self._bench = Workbench()
        return self._bench

    def wait(self, run_id: str, timeout: float | None = None) -> Run:
        """Block until the run has ended (or ``timeout`` seconds are over)."""
        if self._training:
            self._training.exception(timeout)
        return self.store.get(run_id)

    def stop_run(self, run_id: str, keep: bool = True) -> str:
        """Ask a run to stop within one step; its adapter is kept, or the run discarded. Returns its status."""
        self.store.get(run_id)
        self._stop_requested.add(run_id)
        if not keep:
            self._discard.add(run_id)
        if not self.store.mark_stopping(run_id):
            # It ended by itself, now or long ago.
            self._stop_requested.discard(run_id)
            self._discard.discard(run_id)
            return self.store.get(run_id).status
        if self._runner and self._runner.run.id == run_id:
            self._runner.stop.set()
        return "stopping"

    def list_runs(self) -> list[dict[str, Any]]:
        """All runs, newest first, without their metrics."""
        return [self._told(run) for run in self.store.all()]

    def show_run(self, run_id: str) -> dict[str, Any]:
        """A run with its configuration, metrics, events and evaluations."""
        run = self.store.get(run_id)
        return {
            **self._told(run),
            "config": run.config,
            "facts": run.facts,
            "checkpoints": self._checkpoints(run),
            "metrics": self.store.metrics(run_id),
            "samples": self.store.samples(run_id),
            "events": self.store.events(run_id),
            "evaluations": self.store.evaluations(run_id),
        }

    def _told(self, run: Run) -> dict[str, Any]:
        return {
            "id": run.id,
            "name": run.name,
            "status": run.status,
            "phase": run.phase,
            "message": run.message,
            "step": run.step,
            "total_steps": run.total_steps,
            "created": run.created,
            "ended": run.ended,
            "model": run.config["model"],
            "source": run.config["data"]["source"],
            "error_kind": run.error_kind,
            "recorded": recorded_on(run.facts),
        }

    def run_status(self, run_id: str) -> dict[str, Any]:
        """Where a run stands: status, phase, step, the last metric of each kind, seconds left, checkpoints."""
        run, runner = self.store.get(run_id), self._runner
        part = runner.parts if runner and runner.run.id == run_id else None
        return {
            "status": run.status,
            "phase": run.phase,
            "step": run.step,
            "total_steps": run.total_steps,
            "metrics": self.store.last_metrics(run_id),
            "eta_seconds": _seconds_left(run, self.store.metrics(run_id, kind="train", last=10)),
            "part": {"done": part[0], "total": part[1]} if part else None,
            "checkpoints": self._checkpoints(run),
            "message": run.message,
            "recorded": recorded_on(run.facts),
        }

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

    def run_metrics(self, run_id: str, after: int = 0) -> list[dict[str, Any]]:
        """Metrics with a ``seq`` greater than ``after``."""
        self.store.get(run_id)
        if not isinstance(after, int):
            raise DataError("after must be a whole number: the last seq that was seen.")
        return self.store.metrics(run_id, after)

    def run_result(self, run_id: str) -> dict[str, Any]:
        """A run's outcome in numbers, computed from its stored metrics (so it covers resumed parts too)."""
        run = self.store.get(run_id)
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

    def delete_run(self, run_id: str) -> None:
        """Remove a run, its history and its files. Raises BusyError while it is at work."""
        self.store.delete(run_id)
        if self._bench is not None:
            self.engine.short(lambda: self.bench.forget(run_id))

    def bin_run(self, run_id: str) -> None:
        """Delete a run so that it can be undone for an hour, or until the lab starts again."""
        self.store.bin(run_id)
        if self._emptying is None:
            self._empty_bin_later()

    def unbin_run(self, run_id: str) -> None:
        """Undo ``bin_run``. Raises NotFoundError where it is too late."""
        self.store.unbin(run_id)

    def _empty_bin_later(self) -> None:
        def empty() -> None:
            self.store.empty_bin(before=time.time() - BIN_SECONDS)
            self._empty_bin_later()

        if not self._closed:
            self._emptying = threading.Timer(BIN_SECONDS / 12, empty)
            self._emptying.daemon = True
            self._emptying.start()

    def export_run(self, run_id: str, to: Path) -> Path:
        """Write the run's adapter, card, configuration and loss plot as a zip."""
        from .export import export_zip

        return export_zip(self.store, run_id, to)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or len(name) > 200:
        raise DataError("A run's name is a text of at most 200 characters.")


def _seconds_left(run: Run, steps: list[dict[str, Any]]) -> float | None:
    """Steps left times the mean time of the last ones; None before the first step and after the end."""
    if not run.live or not steps:
        return None
    return (run.total_steps - run.step) * sum(m["seconds"] for m in steps) / len(steps)
