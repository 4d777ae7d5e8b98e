"""The device of a ZeroGPU Space: a GPU that is lent to a worker process for some seconds, on its visitor's minutes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import pickle
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..compute.failures import WorkerFailedError
from ..compute.gpu_worker import RESULT, STOP, WORK, Done, Ended, Failed, News
from ..compute.model_host import ModelSpec
from ..compute.work import Work, WorkEvents
from ..errors import GpuError, Stopped
from ..util.progress import Loading
from .device import ThisProcess
from .job_queue import Job, JobQueue
from .job_threads import JobThreads
from .slow_imports import SlowImports

if TYPE_CHECKING:
    from ..pretrained.located import LocatedModel

log = logging.getLogger(__name__)
T = TypeVar("T")
E = TypeVar("E", bound=WorkEvents)
TURN_SECONDS = 60
"""The most seconds of one allocation, which is the platform's default: longer ones wait longer for a GPU."""
LEAST_SECONDS = 10
"""The least: a worker starts, and loads the model."""
OVERHEAD_SECONDS = 8
"""What a worker needs beside the work: to start, to load the model, to save."""
SAFETY = 1.3
"""An allocation is requested for that much longer than the work is expected to take."""
SECONDS_BETWEEN_LOOKS = 0.1
"""How often a stop is looked for."""
QUESTION_SECONDS = 30
"""The allocation for an answer, which takes some seconds."""


class Allocate(Protocol):
    """Lends a GPU: ``gpu_worker.execute`` in a worker. Raises GpuError."""

    def __call__(self, folder: Path, seconds: int, data_dir: Path) -> Generator[News, None, None]: ...


class ZeroGpu:
    """Runs work in workers with a GPU, several at the same time.

    Args:
        allocate: Lends a GPU.
        cpu: This process, which answers where no GPU is to be had.
        data_dir: The data folder.
    """

    kind = "cuda"
    lent = True

    def __init__(self, allocate: Allocate, cpu: ThisProcess, queue: JobQueue, imports: SlowImports, data_dir: Path):
        self._allocate, self._cpu, self._queue, self._imports = allocate, cpu, queue, imports
        self._data_dir, self._threads = data_dir, JobThreads()

    @property
    def jobs(self) -> tuple[Job, ...]:
        return (*self._threads.jobs, *self._cpu.jobs)

    def refuse_when_full(self, by: str | None) -> None:
        self._threads.refuse_when_full(by)

    def enqueue(self, job: Job) -> Job:
        return self._threads.enqueue(job)

    def locate(self, model: ModelSpec, report: Callable[[str], None], loading: Loading) -> LocatedModel:
        """Download what is missing before a GPU is requested; nothing is loaded here."""
        # A worker inherits the imports, and they must not be under way when it is forked.
        self._imports.warm_up()
        from ..models.base_model import locate_model

        # Models are built on the queue's thread alone, also those without weights.
        future = self._queue.submit_short(lambda: locate_model(model.name, report, loading))
        return _result(future, lambda: loading.stopped)

    def run(self, work: Work[T, E], events: E, seconds: float | None = None) -> T | None:
        wanted = TURN_SECONDS if seconds is None else math.ceil(SAFETY * seconds + OVERHEAD_SECONDS)
        wanted = min(TURN_SECONDS, max(LEAST_SECONDS, wanted))
        try:
            return self._turn(work, events, wanted)
        except GpuError as error:
            if not LEAST_SECONDS <= (error.seconds_left or 0) < wanted:
                raise
            # What is left of the visitor's time is worth a shorter turn.
            return self._turn(work, events, error.seconds_left or LEAST_SECONDS)

    def submit(self, work: Work[T, E], events: E) -> Future[T]:
        return self._threads.submit(lambda: self._answer(work, events))

    def close(self) -> None:
        """Accept no more work."""
        self._threads.close()

    def join(self, timeout: float) -> None:
        """Wait until all work has ended."""
        self._threads.join(timeout)

    def _answer(self, work: Work[T, E], events: E) -> T:
        try:
            result = self._turn(work, events, QUESTION_SECONDS)
        except GpuError as error:
            log.warning("%s", error)
            events.message(f"{error.reason} This Space's CPU answers")
            return _result(self._cpu.submit(work, events), events.stopping)
        if result is None:
            reason = f"The answer took more than the {QUESTION_SECONDS} seconds of one turn on the GPU."
            raise GpuError(reason, "Ask for fewer tokens.")
        return result

    def _turn(self, work: Work[T, E], events: E, seconds: int) -> T | None:
        located = self._with_files(work, events)
        with tempfile.TemporaryDirectory(prefix="lab-gpu-") as name:
            folder = Path(name)
            (folder / WORK).write_bytes(pickle.dumps(located))
            with (
                contextlib.closing(self._allocate(folder, seconds, self._data_dir)) as news,
                _passing_on_stops(events, folder / STOP),
            ):
                for each in news:
                    if isinstance(each, Done):
                        if each.cut_short and not events.stopping():
                            return None
                        return pickle.loads((folder / RESULT).read_bytes())
                    if isinstance(each, Failed):
                        raise WorkerFailedError(each.failure)
                    if isinstance(each, Ended):
                        if each.out_of_time and isinstance(each.error, Stopped) and not events.stopping():
                            return None
                        raise each.error
                    getattr(events, each.method)(*each.args, **each.kwargs)
        raise GpuError("The GPU was taken back before the work was done.")

    def _with_files(self, work: Any, events: WorkEvents) -> Any:
        """The work with its model located, so that no GPU waits for a download."""
        if work.model.weights:
            return work
        loading = Loading(events.stopping, events.message)
        weights = self.locate(work.model, events.message, loading).weights
        return dataclasses.replace(work, model=dataclasses.replace(work.model, weights=weights))


@contextlib.contextmanager
def _passing_on_stops(events: WorkEvents, file: Path) -> Iterator[None]:
    """Inside, a stop request makes ``file``, also while the worker tells nothing; so does the end, however it comes."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            if events.stopping():
                file.touch()
                return

    watcher = threading.Thread(target=watch, name="gpu-stops", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        file.touch()


def _result(future: Future[T], stopping: Callable[[], bool]) -> T:
    """The future's result. A stop takes effect at once while the work waits for its turn: Stopped is raised."""
    while not wait([future], SECONDS_BETWEEN_LOOKS).done:
        # ``wait`` does not return for a future that is cancelled before its turn.
        if stopping() and future.cancel():
            break
    if future.cancelled():
        raise Stopped
    return future.result()
