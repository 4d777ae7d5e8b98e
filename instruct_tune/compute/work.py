"""What a device is given to compute: frozen descriptions of paths, settings and token ids, which can be pickled."""

from __future__ import annotations

from typing import Protocol, TypeVar

from .model_host import ModelHost, ModelSpec

T_co = TypeVar("T_co", covariant=True)
E_contra = TypeVar("E_contra", contravariant=True)


class WorkEvents(Protocol):
    """Receives the events of some work, on the thread that waits for it."""

    def begun(self) -> None:
        """A device has the work now; until then it waited for one."""

    def message(self, text: str) -> None:
        """What the work waits for, such as a download."""

    def yield_to_queue(self) -> None:
        """Between two parts of long work: run a waiting short job."""

    def stopping(self) -> bool:
        """Whether a person requested a stop."""


class Work(Protocol[T_co, E_contra]):
    """Some work on a model. ``execute`` raises LabErrors, and Stopped where the events say ``stopping``."""

    @property
    def model(self) -> ModelSpec:
        """The base model that it needs."""

    def execute(self, models: ModelHost, events: E_contra) -> T_co:
        """Do the work with the models of this process."""
