"""The inside of a worker process with a GPU: it does some work, and yields what the work reports.

The worker is a fork. It uses no lock, no file handle and no database connection of its parent: work is paths, settings
and token ids, and the models are loaded here.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LabError, Stopped
from ..util.device import enter_gpu_worker
from .failures import Failure, failure
from .model_host import ModelHost
from .work import Work

WORK, RESULT, STOP = "work.pickle", "result.pickle", "stop"
"""The files of one piece of work, in a folder that only this user reads."""
SHARE_TO_SAVE = 0.1
"""The share of the allocated time that is left for the last step and its checkpoint."""
SECONDS_TO_SAVE = 2.0
"""The least time for that."""
SECONDS_BETWEEN_PARTS = 0.1
"""The least time between two reports of progress within a step: each crosses a pipe."""


@dataclass(frozen=True)
class Reported:
    """A method of the work's events was called."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Done:
    """The work ended with a result, which is in the file ``RESULT``.

    ``cut_short``: time ran out before, so something may be missing in it.
    """

    cut_short: bool


@dataclass(frozen=True)
class Ended:
    """The work ended without a result: stopped, out of time, or by an error that a person can mend."""

    error: LabError | Stopped
    out_of_time: bool = False


@dataclass(frozen=True)
class Failed:
    """The work ended by a fault."""

    failure: Failure


News = Reported | Done | Ended | Failed

_models: ModelHost | None = None
"""The worker's models, which a later piece of work in the same worker finds loaded. None in the parent."""


def execute(folder: Path, seconds: int, data_dir: Path) -> Iterator[News]:
    """Do the work in ``folder``, and yield its news; the last is ``Done``, ``Ended`` or ``Failed``.

    Work and result are files, because a worker that is killed while it fills a pipe leaves its reader waiting.

    Args:
        folder: Holds ``WORK``, the pickled work, and gets ``RESULT``. The work stops where ``STOP`` appears in it.
        seconds: The allocated time; shortly before its end ``stopping`` turns true.
        data_dir: The data folder, which an error may be about.
    """
    enter_gpu_worker()
    events = _Events(folder / STOP, time.monotonic() + seconds - max(SECONDS_TO_SAVE, SHARE_TO_SAVE * seconds))
    # Training calls back and cannot yield, so it has a thread of its own.
    thread = threading.Thread(target=_work, args=(folder, events, data_dir), name="gpu-work")
    thread.start()
    try:
        while True:
            news = events.news.get()
            yield news
            if not isinstance(news, Reported):
                return
    finally:
        # The parent may have gone: what is trained is saved before the GPU is given back.
        events.abandoned.set()
        thread.join()


class _Events:
    """The events of any work: every call is put into ``news``."""

    def __init__(self, stop_file: Path, until: float):
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.abandoned = threading.Event()
        self.cut_short = False
        self._stop_file, self._until = stop_file, until
        self._part_at = 0.0

    @property
    def out_of_time(self) -> bool:
        return time.monotonic() > self._until

    def stopping(self) -> bool:
        self.cut_short = self.cut_short or self.out_of_time
        return self.abandoned.is_set() or self.cut_short or os.path.exists(self._stop_file)

    def yield_to_queue(self) -> None:
        """A worker has no queue: others have workers of their own."""

    def part(self, done: int, total: int) -> None:
        if time.monotonic() - self._part_at >= SECONDS_BETWEEN_PARTS:
            self._part_at = time.monotonic()
            self.news.put(Reported("part", (done, total), {}))

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return lambda *args, **kwargs: self.news.put(Reported(method, args, kwargs))


def _work(folder: Path, events: _Events, data_dir: Path) -> None:
    """On the thread of the work: put all its news, the last one whatever happens."""
    try:
        events.begun()
        _execute(folder, events)
        news: News = Done(events.cut_short)
    except (LabError, Stopped) as error:
        news = Ended(error.with_traceback(None), events.cut_short)
    except Exception as error:
        # The process's boundary: the parent stores what went wrong.
        news = Failed(failure(error, data_dir))
    events.news.put(news)


def _execute(folder: Path, events: _Events) -> None:
    global _models
    import torch

    # After a fork, OpenMP waits forever for the threads that only the parent has.
    torch.set_num_threads(1)
    _models = _models or ModelHost()
    work: Work[Any, Any] = pickle.loads((folder / WORK).read_bytes())
    try:
        (folder / RESULT).write_bytes(pickle.dumps(work.execute(_models, events)))
    finally:
        # A run's adapter may have been trained further by the next work of this worker.
        _models.forget_all()
