"""The base model that is in memory, and the runs' adapters on it. For the engine's thread only."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BusyError, ModelError
from ..models import lora
from ..models.base_model import LoadedModel, load_model, weights_dtype
from ..pretrained.locate import Report
from ..util import atomic_write
from ..util.progress import Loading

ADAPTERS_IN_MEMORY = 4


class Workbench:
    """Holds one base model at a time; a run that trains pins it."""

    def __init__(self) -> None:
        self._loaded: LoadedModel | None = None
        self._key: tuple[str, object] | None = None
        self.training: str | None = None
        """The run whose adapter is training now; its model stays, its adapter is not reloaded."""
        self.evaluating: str | None = None
        """The run that is being evaluated now; its model and its adapter stay, whoever is compared meanwhile."""

    @property
    def empty(self) -> bool:
        """Whether no base model is loaded."""
        return self._loaded is None

    def model(self, name: str, bf16: bool | str, report: Report, loading: Loading | None = None) -> LoadedModel:
        """The base model ``name``, loaded if it is not the one at hand; ``loading`` can stop its download."""
        key = (name, weights_dtype(bf16))
        if self._loaded is None or key != self._key:
            if self.training or self.evaluating:
                what = "training" if self.training else "being evaluated"
                # Not its name, which may be a folder of somebody else's.
                raise BusyError(f"Another model is {what}; {name} can be used after that.")
            # Before the next is loaded: two models may not fit.
            self._loaded = self._key = None
            gc.collect()
            self._loaded, self._key = load_model(name, report, bf16, loading), key
        return self._loaded

    def with_adapter(self, loaded: LoadedModel, run_id: str, folder: Path, beside: Collection[str] = ()) -> None:
        """Make sure the run's adapter is on the model: the saved one, or the one that is training.

        Older ones make room for it, but not those ``beside`` which it is to speak.
        """
        if run_id == self.training:
            return
        present = lora.names(loaded)
        if run_id not in present:
            too_many = max(0, len(present) - ADAPTERS_IN_MEMORY + 1)
            for old in [name for name in present if name not in (self.training, self.evaluating, *beside)][:too_many]:
                lora.remove(loaded, old)
            self._load(loaded, run_id, folder)

    @contextmanager
    def guest(self, loaded: LoadedModel, name: str, folder: Path) -> Iterator[None]:
        """An adapter that is on the model inside only: a checkpoint's, or a second copy at another strength."""
        try:
            self._load(loaded, name, folder)
            yield
        finally:
            lora.remove(loaded, name)
            if self.training:
                loaded.model.set_adapter(self.training)

    def _load(self, loaded: LoadedModel, name: str, folder: Path) -> None:
        if (folder / atomic_write.MANIFEST).is_file() and (wrong := atomic_write.fault(folder)):
            raise ModelError(f"The adapter is damaged ({wrong}): resume its run, or train it again.")
        lora.load(loaded, name, folder)
        if self.training:
            loaded.model.set_adapter(self.training)

    def forget(self, run_id: str) -> None:
        """Take a run's adapter out of memory, because its files changed or are gone."""
        if self._loaded is not None:
            lora.remove(self._loaded, run_id)
