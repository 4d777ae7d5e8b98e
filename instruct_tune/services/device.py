"""Where heavy work runs: on this process's queue, or in a worker that the host lends a GPU to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..compute.model_host import ModelHost, ModelSpec
from ..compute.work import Work, WorkEvents
from ..util.progress import Loading
from .job_queue import Job, JobQueue
from .slow_imports import SlowImports

if TYPE_CHECKING:
    from ..pretrained.located import LocatedModel

T = TypeVar("T")
E = TypeVar("E", bound=WorkEvents)


class Device(Protocol):
    """Runs work on a model."""

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""

    @property
    def lent(self) -> bool:
        """Whether it is lent for a while and may be taken back at any time."""

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The long jobs, those at work first."""

    def refuse_when_full(self, by: str | None) -> None:
        """Raise the BusyError that ``enqueue`` would raise now for a job of that visitor."""

    def enqueue(self, job: Job) -> Job:
        """Run a long job when its turn comes. Raises BusyError where too many wait."""

    def locate(self, model: ModelSpec, report: Callable[[str], None], loading: Loading) -> LocatedModel:
        """The model's files on this machine, downloaded where they are not; inside a long job."""

    def run(self, work: Work[T, E], events: E, seconds: float | None = None) -> T | None:
        """The result of ``work``, inside a long job; ``seconds``: how long it is expected to take.

        None where the device's turn ended before the work did: what it has stored stays, so run it again.
        """

    def submit(self, work: Work[T, E], events: E) -> Future[T]:
        """Run short work soon."""


class ThisProcess:
    """The device of this process: everything runs on the queue's thread, one after the other."""

    lent = False

    def __init__(self, models: ModelHost, queue: JobQueue, imports: SlowImports):
        self._models, self._queue, self._imports = models, queue, imports

    @property
    def kind(self) -> str:
        from ..util.device import best_device

        return best_device()

    @property
    def jobs(self) -> tuple[Job, ...]:
        return self._queue.jobs

    def refuse_when_full(self, by: str | None) -> None:
        self._queue.refuse_when_full(by)

    def enqueue(self, job: Job) -> Job:
        return self._queue.enqueue(job)

    def locate(self, model: ModelSpec, report: Callable[[str], None], loading: Loading) -> LocatedModel:
        # It is loaded at once, so that a model which does not work is refused before the rows are tokenised.
        return self._models.base(model.name, model.bf16, report, loading)

    def run(self, work: Work[T, E], events: E, seconds: float | None = None) -> T:
        self._imports.wait()
        events.begun()
        return work.execute(self._models, events)

    def submit(self, work: Work[T, E], events: E) -> Future[T]:
        return self._queue.submit_short(lambda: self.run(work, events))
