"""Who can answer: base, and each run that has an adapter; their model at hand on the engine's thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from .batches import Batches
from .dataset import Example
from .errors import DataError, LabError, ModelError, Stopped
from .settings import GenerationSettings, RunConfig
from .store import Run
from .visitors import HOST, Viewer

if TYPE_CHECKING:
    from .model import LoadedModel

BASE_RUN = "base"
"""The run id that stands for the base model without any adapter."""


class Speakers(Batches):
    """The part of the lab that has base and runs ready to be asked, with the settings to ask them with."""

    def has_adapter(self, run_id: str, viewer: Viewer = HOST) -> bool:
        """Whether the run can answer: it has a saved adapter, or one that is training."""
        run = self.visible_run(run_id, viewer)
        training = run.live and run.phase in ("training", "evaluating", "saving")
        return training or (self.store.folder(run_id) / "adapter").is_dir()

    def ready_adapter(self, run_id: str, viewer: Viewer = HOST) -> Run:
        """The run, if it has an adapter to speak with. Raises ModelError where it has none (yet)."""
        run = self.visible_run(run_id, viewer)
        if not self.has_adapter(run_id):
            raise ModelError(f"Run {run.name} ({run.status}) has no adapter yet: train it first, or choose another.")
        return run

    def held_out_row_of(self, run_id: str, index: int, viewer: Viewer = HOST) -> Example:
        """A held-out row of the run's data, from 0; whoever sees the run sees its rows."""
        return self.held_out_row(self.run_config(run_id, viewer), index)

    def held_out_count_of(self, run_id: str, viewer: Viewer = HOST) -> int:
        """How many rows of the run's data were held out."""
        return self.held_out_count(self.run_config(run_id, viewer))

    def generation(self, config: RunConfig, given: Mapping[str, Any] | None) -> GenerationSettings:
        """The run's generation settings with ``given`` laid over them."""
        if not given:
            return config.generation
        return RunConfig.from_dict({**config.to_dict(), "generation": _laid_over(config, given)}).generation

    def _prepare(self, run_id: str, config: RunConfig, report: Callable[[str], None]) -> LoadedModel:
        """The run's base model with its adapter in place. On the engine's thread."""
        loaded = self.bench.model(config.model, config.train.bf16, report)
        if run_id != BASE_RUN:
            self.bench.with_adapter(loaded, run_id, self.store.folder(run_id) / "adapter")
        return loaded

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except (Stopped, CancelledError):
            raise LabError("Stopped.") from None


def _laid_over(config: RunConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError("generation must be a JSON object.")
    return {**dataclasses.asdict(config.generation), **given}
