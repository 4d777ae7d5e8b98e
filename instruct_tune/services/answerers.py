"""Who can answer: base, and each run that has an adapter; their model at hand on the engine's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.run_config import GenerationSettings, RunConfig
from ..config.viewer import HOST, Viewer
from ..data.splits import Example
from ..errors import DataError, LabError, ModelError, Stopped
from ..store.run_store import Run
from ..training.checkpoints import at_step, checkpoints, step_of
from ..util.progress import Loading
from .answerer import BASE_RUN, Speaker
from .batches import Batches

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel


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

    def _prepare(
        self,
        run_id: str,
        config: RunConfig,
        report: Callable[[str], None],
        stopping: Callable[[], bool] = lambda: False,
    ) -> LoadedModel:
        """The run's base model with its adapter in place. On the engine's thread.

        ``report`` gets messages while the model is downloaded; ``stopping`` and the lab's end stop the download.
        """
        loading = Loading(lambda: stopping() or self._closing.is_set(), report)
        loaded = self.bench.model(config.model, config.train.bf16_weights, report, loading)
        if run_id != BASE_RUN:
            self.bench.with_adapter(loaded, run_id, self.store.folder(run_id) / "adapter")
        return loaded

    def ready_speaker(self, speaker: Speaker, viewer: Viewer = HOST) -> Run | None:
        """The run that speaks, None for base. Raises ModelError or DataError where it has no such adapter (yet)."""
        if speaker.run_id == BASE_RUN:
            return None
        run = self.ready_adapter(speaker.run_id, viewer)
        steps = self.kept_steps(run.id)
        if speaker.step is not None and speaker.step not in steps:
            kept = f"it has kept those of {', '.join(map(str, steps))}" if steps else "it has kept none"
            raise DataError(f"Run {run.name} has no checkpoint of step {speaker.step}: {kept}.")
        if run.live and speaker.step is None and speaker.adapter != run.id:
            raise DataError(f"Run {run.name} is still training: here it answers at strength 1, or at a checkpoint.")
        return run

    def kept_steps(self, run_id: str) -> list[int]:
        """The steps whose checkpoints the run has kept, in their order."""
        return [step_of(path) for path in checkpoints(self.store.folder(run_id))]

    def _folder_of(self, speaker: Speaker) -> Path:
        folder = self.store.folder(speaker.run_id)
        return folder / "adapter" if speaker.step is None else at_step(folder, speaker.step)

    @contextmanager
    def _all_speaking(self, loaded: LoadedModel, speakers: Sequence[Speaker]) -> Iterator[list[str]]:
        """The adapter that speaks for each, all on the model inside. On the engine's thread."""
        from ..models.lora import BASE, at_strength

        wanted = {each.adapter: each for each in speakers if not each.is_base}
        with ExitStack() as stack:
            for name, each in wanted.items():
                if name == each.run_id:
                    self.bench.with_adapter(loaded, name, self._folder_of(each), beside=tuple(wanted))
            for name, each in wanted.items():
                if name != each.run_id:
                    stack.enter_context(self.bench.guest(loaded, name, self._folder_of(each)))
                    stack.enter_context(at_strength(loaded, name, each.strength))
            yield [BASE if each.is_base else each.adapter for each in speakers]

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except (Stopped, CancelledError):
            raise LabError("Stopped.") from None


def _laid_over(config: RunConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError("generation must be a JSON object.")
    return {**config.generation.to_dict(), **given}
