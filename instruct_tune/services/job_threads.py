"""Jobs that run at the same time, each on a thread of its own, because another process does their work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any, TypeVar

from ..errors import BusyError
from .job_queue import MAX_WAITING, MAX_WAITING_EACH, Job, run_future

T = TypeVar("T")
MAX_THREADS = 32
"""Short work and long jobs at the same time."""


class JobThreads:
    """Owns the jobs at work: at most ``most`` long ones, ``most_each`` of them one visitor's.

    A job runs in the context of who submitted it, which has their request and with that their quota.
    """

    def __init__(self, most: int = MAX_WAITING, most_each: int = MAX_WAITING_EACH) -> None:
        self._most, self._most_each = most, most_each
        self._jobs: list[Job] = []
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The long jobs at work, the oldest first."""
        with self._lock:
            return tuple(self._jobs)

    def refuse_when_full(self, by: str | None) -> None:
        """Raise the BusyError that ``enqueue`` would raise now."""
        with self._lock:
            self._refuse_when_full(by)

    def enqueue(self, job: Job) -> Job:
        """Run ``job`` now. Raises BusyError where too many are at work."""
        with self._lock:
            self._refuse_when_full(job.by)
            self._jobs.append(job)
        job.begun = time.monotonic()
        self._start(job.take_context(), lambda: run_future(job, job.run, before_result=lambda: self._end(job)))
        return job

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run short work now."""
        with self._lock:
            self._refuse_when_closed()
            if len(self._threads) >= MAX_THREADS:
                raise BusyError("Too much is asked at the same time: ask again in a moment.")
        future: Future[T] = Future()
        self._start(copy_context(), lambda: run_future(future, work))
        return future

    def close(self) -> None:
        """Accept nothing more."""
        with self._lock:
            self._closed = True

    def join(self, timeout: float) -> None:
        """Wait until everything has ended."""
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise BusyError("The lab is closing.")

    def _refuse_when_full(self, by: str | None) -> None:
        self._refuse_when_closed()
        if len(self._jobs) >= self._most:
            raise BusyError(f"{len(self._jobs)} runs and evaluations are at work already: try again later.")
        if by is not None and sum(each.by == by for each in self._jobs) >= self._most_each:
            raise BusyError(f"{self._most_each} of yours are at work already: stop one, or wait until one ends.")

    def _start(self, context: Context, target: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                target()
            finally:
                self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=context.run, args=(run,), name="gpu-job", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _end(self, job: Job) -> None:
        with self._lock:
            self._jobs.remove(job)
