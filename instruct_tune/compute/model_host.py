"""The base model in memory, and the runs' adapters on it. For one thread of a process: the one that owns torch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BusyError, ModelError
from ..models.lora import WEIGHTS_FILE
from ..pretrained.hub_access import Access
from ..pretrained.locate import folder_stamp
from ..training.checkpoints import checkpoints
from ..util import atomic_write
from ..util.progress import Loading

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel
    from ..pretrained.locate import Weights

MAX_ADAPTERS = 4
"""Adapters in memory, beside those in use."""


@dataclass(frozen=True)
class ModelSpec:
    """A base model: its ``name``, ``train.bf16_weights``, and its files where they are located already."""

    name: str
    bf16: bool | str
    weights: Weights | None = None


class ModelHost:
    """Owns one base model at a time; a run that trains or is evaluated pins it.

    Args:
        closing: Whether the lab ends, which stops a download.
    """

    def __init__(self, closing: Callable[[], bool] = lambda: False) -> None:
        self._closing = closing
        self._loaded: LoadedModel | None = None
        self._key: tuple[str, object] | None = None
        self._stamp: object = None
        """``folder_stamp`` of a local model, as it was loaded."""
        self._files: dict[str, tuple[Path, int]] = {}
        """Adapter → the folder that it was read from, and when its weights were written, in nanoseconds."""
        self.training: str | None = None
        """The run that trains now; its model stays, its adapter is not reloaded."""
        self.evaluating: str | None = None
        """The run that is evaluated now; its model and its adapter stay, whichever runs are compared meanwhile."""

    @property
    def empty(self) -> bool:
        """Whether no base model is loaded."""
        return self._loaded is None

    def prepare(
        self, model: ModelSpec, report: Callable[[str], None], stopping: Callable[[], bool] = lambda: False
    ) -> LoadedModel:
        """``base``, whose download ``stopping`` or the end of the lab stops."""
        loading = Loading(lambda: stopping() or self._closing(), report)
        return self.base(model.name, model.bf16, report, loading, model.weights)

    def base(
        self,
        name: str,
        bf16: bool | str,
        report: Callable[[str], None],
        loading: Loading | None = None,
        weights: Weights | None = None,
    ) -> LoadedModel:
        """The base model ``name``, loaded if it is not in memory, or if its files changed and no run has it pinned.

        ``bf16`` is ``train.bf16_weights``; ``report`` gets messages, ``loading`` can stop a download; ``weights`` are
        the model's files where they are located already, for who asks. Raises BusyError where another model is
        pinned, HubError where it came by a token and is not for this visitor.
        """
        from ..models.base_model import load_model, weights_dtype

        if weights is None:
            Access("model", name).require_readable()
        key, stamp, pinned = (name, weights_dtype(bf16)), folder_stamp(name), bool(self.training or self.evaluating)
        if self._loaded is None or key != self._key or (stamp != self._stamp and not pinned):
            if pinned:
                what = "training" if self.training else "being evaluated"
                # Not its name, which may be a folder of somebody else's.
                raise BusyError(f"Another model is {what}; {name} can be used after that.")
            # Before the next is loaded: two models may not fit.
            self._loaded = self._key = None
            gc.collect()
            self._loaded = load_model(name, report, bf16, loading, weights)
            self._key, self._stamp = key, stamp
        return self._loaded

    def with_adapter(self, loaded: LoadedModel, run_id: str, folder: Path, keep: Collection[str] = ()) -> None:
        """Put the run's adapter on the model: the one that trains, or the one saved in ``folder``.

        ``folder`` may be the run's own: then it is its newest checkpoint. An adapter in memory is read again where its
        files have changed since. Older adapters make room for it, but not those in ``keep``.
        """
        from ..models import lora

        if run_id == self.training:
            return
        folder = _with_weights(folder)
        if self._files.get(run_id) != _written(folder):
            lora.remove(loaded, run_id)
        present = lora.names(loaded)
        if run_id not in present:
            too_many = max(0, len(present) - MAX_ADAPTERS + 1)
            for old in [name for name in present if name not in (self.training, self.evaluating, *keep)][:too_many]:
                lora.remove(loaded, old)
            self._load(loaded, run_id, folder)
            self._files[run_id] = _written(folder)

    @contextmanager
    def guest(self, loaded: LoadedModel, name: str, folder: Path) -> Iterator[None]:
        """An adapter that is on the model inside only: a checkpoint's, or a second copy at another strength."""
        from ..models import lora

        try:
            self._load(loaded, name, folder)
            yield
        finally:
            lora.remove(loaded, name)
            if self.training:
                loaded.model.set_adapter(self.training)

    def forget(self, run_id: str) -> None:
        """Remove a run's adapter from memory, because its files changed or are gone."""
        if self._loaded is not None:
            from ..models import lora

            lora.remove(self._loaded, run_id)

    def forget_all(self) -> None:
        """Remove every adapter from memory."""
        if self._loaded is not None:
            from ..models import lora

            for name in lora.names(self._loaded):
                lora.remove(self._loaded, name)

    def _load(self, loaded: LoadedModel, name: str, folder: Path) -> None:
        from ..models import lora

        if not folder.is_dir():
            raise ModelError("The adapter is not saved yet: ask again after the run's first checkpoint.")
        if (folder / atomic_write.MANIFEST).is_file() and (wrong := atomic_write.fault(folder)):
            raise ModelError(f"The adapter is damaged ({wrong}): resume its run, or train it again.")
        lora.load(loaded, name, folder)
        if self.training:
            loaded.model.set_adapter(self.training)


def _with_weights(folder: Path) -> Path:
    """The folder itself where it holds an adapter; for a run's own folder its newest checkpoint."""
    if (folder / WEIGHTS_FILE).is_file():
        return folder
    saved = checkpoints(folder)
    return saved[-1] if saved else folder


def _written(folder: Path) -> tuple[Path, int]:
    """What changes when another adapter is saved in the folder."""
    file = folder / WEIGHTS_FILE
    return folder, file.stat().st_mtime_ns if file.is_file() else 0
