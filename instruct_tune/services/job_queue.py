"""The queue of jobs for the one thread that owns torch.

Everything that touches a model runs on this thread, so no weights are locked and nothing races. Long jobs
(training runs, evaluations) go round by person: the one served least recently is next, and a person's own jobs keep
their order. The current one calls ``yield_once`` between its steps, where one waiting short job (a comparison) runs, so
that comparisons can use an adapter that is still training.

A job runs in a copy of its submitter's context: the token that reads the Hub, and whose request it is.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypedDict, TypeVar

from ..errors import BusyError, LabError, Stopped

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_WAITING = 16
MAX_WAITING_EACH = 3
MAX_REMEMBERED = 1000
"""The most people whose last turn is remembered."""


class QueuePosition(TypedDict):
    """Where a job stands in the queue."""

    place: int | None
    """1 for the next job; None for the current one, one that is about to begin, and one that is not queued."""
    starts_in_seconds: float | None
    """Estimated from the current job, which the jobs between are taken to resemble; None where it is not known."""


class OthersAtWork(QueuePosition):
    """Somebody else's current job, and the position of the viewer's first job, or of the one they would submit now."""

    kind: str
    waiting: bool


class Job(Future[Any]):
    """A queued long job, and the future of its result.

    Args:
        label: What it is, in words.
        run: The work.
        about: (kind, run id), by which the services find it.
        by: Who submitted it; None for the host, who has no limit of their own.
        eta: Seconds that the job still takes; None where that is not known yet.
    """

    def __init__(
        self,
        label: str,
        run: Callable[[], Any],
        about: tuple[str, str] = ("", ""),
        by: str | None = None,
        eta: Callable[[], float | None] = lambda: None,
    ):
        super().__init__()
        self.label, self.run, self.about, self.by, self.eta = label, run, about, by, eta
        self.begun: float | None = None
        """When it began, in seconds of ``time.monotonic``."""
        self._context = contextvars.copy_context()

    def take_context(self) -> contextvars.Context:
        """The submitter's context. It may hold their token, so the job keeps it until its turn comes, and no longer."""
        context, self._context = self._context, contextvars.Context()
        return context


class JobQueue:
    """Runs jobs on one daemon thread, which starts with the first job.

    At most ``max_waiting`` long jobs wait behind the current one, ``max_waiting_each`` of them one visitor's.
    """

    def __init__(self, max_waiting: int = MAX_WAITING, max_waiting_each: int = MAX_WAITING_EACH) -> None:
        self.max_waiting, self.max_waiting_each = max_waiting, max_waiting_each
        self.short_share: float | None = None
        """The share of a long job's time, 0 to 1, that short jobs may take; None for as much as they need."""
        self._wake = threading.Condition()
        self._short: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        """Each job bound to the context of its submitter."""
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._last_served: dict[str | None, int] = {}
        """The sequence number of each person's last long job, the oldest first; bounded."""
        self._turn, self._short_seconds = 0, 0.0
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The long jobs in their order: the current one, or the one about to begin, first."""
        with self._wake:
            return self._all_jobs()

    @property
    def busy_with(self) -> str | None:
        """The label of the current long job; None where there is none."""
        jobs = self.jobs
        return jobs[0].label if jobs else None

    @property
    def is_worker(self) -> bool:
        """Whether the caller is the queue's thread."""
        return threading.current_thread() is self._thread

    def run(self, job: Callable[[], T]) -> T:
        """The result of ``job``, run on the queue's thread: at once where the caller is on it."""
        return job() if self.is_worker else self.submit_short(job).result()

    def submit_short(self, job: Callable[[], T]) -> Future[T]:
        """Run ``job`` soon: now, or at the current long job's next ``yield_once``."""
        future: Future[T] = Future()
        with self._wake:
            self._refuse_when_closed()
            self._short.append((future, partial(contextvars.copy_context().run, job)))
            self._start()
        return future

    def enqueue(self, job: Job) -> Job:
        """Run ``job`` after those enqueued before it. Raises BusyError where the queue is full."""
        with self._wake:
            self._refuse_when_full(job.by)
            self._waiting.append(job)
            self._start()
        return job

    def refuse_when_full(self, by: str | None = None) -> None:
        """Raise the BusyError that ``enqueue`` would raise now."""
        with self._wake:
            self._refuse_when_full(by)

    def withdraw(self, about: tuple[str, str]) -> Job | None:
        """Remove a job that has not begun; None where there is none about that."""
        with self._wake:
            job = next((job for job in self._waiting if job.about == about), None)
            if job:
                self._waiting.remove(job)
        # Outside the lock: its callbacks may call the queue.
        if job:
            job.take_context()
            job.cancel()
            # ``futures.wait`` returns for a cancelled job only after this.
            job.set_running_or_notify_cancel()
        return job

    def yield_once(self) -> None:
        """Run one waiting short job, if short jobs have time left. The current long job calls this, on the queue's
        thread."""
        with self._wake:
            waiting = self._short.popleft() if self._short and self._short_may_run() else None
        if waiting:
            begun = time.monotonic()
            run_future(*waiting)
            self._short_seconds += time.monotonic() - begun

    # Positions

    def position(self, about: tuple[str, str]) -> QueuePosition:
        """Where the job about that stands."""
        jobs = self.jobs
        return _position(jobs, next((place for place, job in enumerate(jobs) if job.about == about), 0))

    def others_at_work(self, by: str | None) -> OthersAtWork | None:
        """Somebody else's current job that ``by`` waits for; None where the queue is idle or works for them."""
        with self._wake:
            jobs = self._all_jobs()
            if not jobs or jobs[0].by == by:
                return None
            waits = any(job.by == by for job in jobs)
            # A job that they would submit now comes in its turn, not behind all others.
            would_be = jobs if waits else self._all_jobs(Job("", lambda: None, by=by))
        position = _position(would_be, next(place for place, job in enumerate(would_be) if job.by == by))
        return OthersAtWork(kind=jobs[0].about[0], waiting=waits, **position)

    # The thread

    def close(self) -> list[Job]:
        """Accept no more jobs; the thread ends after the current one. Returns the long jobs that will not run."""
        with self._wake:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._wake.notify_all()
        for job in left:
            job.take_context()
            job.cancel()
        return left

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended."""
        if self._thread:
            self._thread.join(timeout)

    def _all_jobs(self, *submitted_now: Job) -> tuple[Job, ...]:
        waiting = self._in_turn(*submitted_now)
        return (self._current, *waiting) if self._current else waiting

    def _in_turn(self, *submitted_now: Job) -> tuple[Job, ...]:
        """The waiting jobs in the order of their turns: next is who had theirs longest ago."""
        waiting = [job for job in (*self._waiting, *submitted_now) if not job.cancelled()]
        ordered = []
        turns, turn = dict(self._last_served), self._turn
        while waiting:
            job = min(waiting, key=lambda job: turns.get(job.by, 0))
            turn += 1
            turns[job.by] = turn
            waiting.remove(job)
            ordered.append(job)
        return tuple(ordered)

    def _next(self) -> Job:
        """Take the next long job off those that wait."""
        job = (*self._in_turn(), *self._waiting)[0]
        self._waiting.remove(job)
        self._turn += 1
        self._last_served.pop(job.by, None)
        self._last_served[job.by] = self._turn
        if len(self._last_served) > MAX_REMEMBERED:
            del self._last_served[next(iter(self._last_served))]
        job.begun, self._short_seconds = time.monotonic(), 0.0
        return job

    def _short_may_run(self) -> bool:
        if self.short_share is None or self._current is None:
            return True
        took = time.monotonic() - (self._current.begun or 0.0)
        return self._short_seconds <= self.short_share * took

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise BusyError("The lab is closing.")

    def _refuse_when_full(self, by: str | None) -> None:
        self._refuse_when_closed()
        waiting = self._all_jobs()[1:]
        if len(waiting) >= self.max_waiting:
            raise BusyError(f"{len(waiting)} runs and evaluations are waiting already: try again when some are done.")
        if by is not None and sum(job.by == by for job in waiting) >= self.max_waiting_each:
            raise BusyError(
                f"{self.max_waiting_each} of yours are waiting already: withdraw one, or wait until one begins."
            )

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="job-queue", daemon=True)
            self._thread.start()
        self._wake.notify_all()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._short or self._waiting or self._closed)
                if self._closed and not self._short and not self._waiting:
                    return
                short = self._short.popleft() if self._short else None
                if short is None:
                    self._current = self._next()
            if short:
                run_future(*short)
            elif self._current:
                # The queue is free before the future's callbacks run.
                run_future(
                    self._current,
                    partial(self._current.take_context().run, self._current.run),
                    before_result=self._end_current,
                )
            # Not kept while the thread waits for the next job.
            short = None

    def _end_current(self) -> None:
        with self._wake:
            self._current = None


def _position(jobs: tuple[Job, ...], place: int) -> QueuePosition:
    left = jobs[0].eta() if place else None
    if left is None:
        return QueuePosition(place=place or None, starts_in_seconds=None)
    # Each waiting job is taken to last as long as the current one does in all.
    whole = left + time.monotonic() - (jobs[0].begun or time.monotonic())
    return QueuePosition(place=place, starts_in_seconds=left + (place - 1) * whole)


def run_future(future: Future[Any], job: Callable[[], Any], before_result: Callable[[], None] = lambda: None) -> None:
    """Run ``job`` for ``future``, unless it was cancelled; ``before_result`` is called before the result is set."""
    if not future.set_running_or_notify_cancel():
        before_result()
        return
    try:
        result = job()
    except BaseException as error:  # the thread's boundary: the waiting side gets it
        if not isinstance(error, LabError | Stopped):
            # Nobody waits for the result of a job that the page submitted, so a fault is logged.
            log.exception("a job failed")
        before_result()
        future.set_exception(error)
    else:
        before_result()
        future.set_result(result)
