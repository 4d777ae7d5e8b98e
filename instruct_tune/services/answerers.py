"""Who can answer: the base model, a run, one of its checkpoints, at a strength of its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..compute.answer_work import BASE_RUN, Answerer
from ..config.run_config import GenerationSettings, RunConfig
from ..config.viewer import HOST, Viewer
from ..data.splits import Example
from ..errors import DataError, ModelError
from ..store.run import Run
from ..store.run_store import RunStore
from ..training.checkpoints import at_step, checkpoints, step_of
from .datasets import Datasets
from .runs import Runs

MAX_STRENGTH = 1.5
MAX_ANSWERERS = 3


class Answerers:
    """Validates who is to answer, and finds their adapters."""

    def __init__(self, store: RunStore, runs: Runs, datasets: Datasets):
        self._store, self._runs, self._datasets = store, runs, datasets

    # Who can answer

    def has_adapter(self, viewer: Viewer, run_id: str) -> bool:
        """Whether the run can answer: its adapter is saved, or trains now."""
        run = self._runs.get(viewer, run_id)
        return is_training(run) or (self._store.folder(run_id) / "adapter").is_dir()

    def get(self, viewer: Viewer, run_id: str) -> Run:
        """The run. Raises ModelError where it has no adapter (yet)."""
        run = self._runs.get(viewer, run_id)
        if not self.has_adapter(viewer, run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter yet: train it first, or choose another.")
        return run

    def get_run(self, viewer: Viewer, answerer: Answerer) -> Run | None:
        """The run that answers, None for base. Raises ModelError or DataError where it has no such adapter (yet)."""
        if answerer.run_id == BASE_RUN:
            return None
        run = self.get(viewer, answerer.run_id)
        steps = self.kept_steps(run.id)
        if answerer.step is not None and answerer.step not in steps:
            kept = f"it has kept those of {', '.join(map(str, steps))}" if steps else "it has kept none"
            raise DataError(f"Run {run.name} has no checkpoint of step {answerer.step}: {kept}.")
        if run.live and answerer.step is None and answerer.adapter != run.id:
            raise DataError(f"Run {run.name} is still training: here it answers at strength 1, or at a checkpoint.")
        return run

    def kept_steps(self, run_id: str) -> list[int]:
        """The steps whose checkpoints the run has kept, in their order."""
        return [step_of(path) for path in checkpoints(self._store.folder(run_id))]

    def held_out_row(self, viewer: Viewer, run_id: str, index: int) -> Example:
        """A held-out row of the run's data, from 0; who sees the run sees its rows."""
        return self._datasets.held_out_row(HOST, self._runs.config(viewer, run_id), index)

    def held_out_count(self, viewer: Viewer, run_id: str) -> int:
        """How many rows of the run's data are held out."""
        return self._datasets.held_out_count(HOST, self._runs.config(viewer, run_id))

    # Their adapters

    def folder(self, answerer: Answerer) -> Path | None:
        """Where its adapter lies; None for base. Of a run that trains, the run's folder, which has its checkpoints."""
        if answerer.run_id == BASE_RUN:
            return None
        folder = self._store.folder(answerer.run_id)
        if answerer.step is not None:
            return at_step(folder, answerer.step)
        return folder if is_training(self._store.get(answerer.run_id)) else folder / "adapter"


def is_training(run: Run) -> bool:
    """Whether the run has an adapter that is not saved yet, or not for good."""
    return run.live and run.phase in ("training", "evaluating", "saving")


def generation_settings(config: RunConfig, changes: Mapping[str, Any] | None) -> GenerationSettings:
    """The configuration's generation settings with ``changes`` laid over them. Raises SettingsError, DataError."""
    if not changes:
        return config.generation
    if not isinstance(changes, Mapping):
        raise DataError("generation must be a JSON object.")
    settings = {**config.generation.to_dict(), **changes}
    return RunConfig.from_dict({**config.to_dict(), "generation": settings}).generation


def check_strength(strength: Any) -> None:
    """Raise DataError where an adapter cannot be that strong."""
    number = isinstance(strength, int | float) and not isinstance(strength, bool)
    if not number or not 0 <= strength <= MAX_STRENGTH:
        raise DataError(f"The adapter's strength must be a number from 0 to {MAX_STRENGTH}.")


def read_answerers(value: Any) -> tuple[Answerer, ...]:
    """Two or three answerers out of JSON, a run among them. Raises DataError in a sentence."""
    if not isinstance(value, list | tuple) or not 2 <= len(value) <= MAX_ANSWERERS:
        raise DataError(f"Name 2 or {MAX_ANSWERERS} who answer, as a list of objects with a run_id.")
    answerers = tuple(_read(each) for each in value)
    if all(answerer.run_id == BASE_RUN for answerer in answerers):
        raise DataError("Base alone answers the same every time: name a run beside it.")
    return answerers


def _read(value: Any) -> Answerer:
    if not isinstance(value, Mapping) or not isinstance(value.get("run_id"), str) or value.keys() - _NAMES:
        raise DataError(f"Who answers is an object with a run_id (or {BASE_RUN}), and if wanted step and strength.")
    answerer = Answerer(**value)
    check_strength(answerer.strength)
    if answerer.step is not None and (isinstance(answerer.step, bool) or not isinstance(answerer.step, int)):
        raise DataError("The step of a checkpoint is a whole number.")
    if answerer.run_id == BASE_RUN and answerer != Answerer():
        raise DataError("Base has no checkpoints and no adapter to make stronger: give its run_id alone.")
    return answerer


_NAMES = {"run_id", "step", "strength"}
