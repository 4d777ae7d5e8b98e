"""The one thread that owns torch.

Everything that touches a model runs here, so nothing locks weights and nothing races. Long jobs
(training runs, evaluations) take their turns, first come, first served. The one at work calls
``breathe`` between its steps; there one short job (a comparison) is served, so that people can talk
to a half-trained adapter.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ..errors import BusyError, LabError, Stopped

log = logging.getLogger(__name__)

T = TypeVar("T")
MOST_WAITING = 16
MOST_WAITING_EACH = 3


class Turn(Future):
    """A long job in the line, and what becomes of it.

    ``label`` is what it is in words, ``about`` what the lab finds it by, ``by`` who asked for it (None:
    the host, who may ask for as many as there is room for), ``begun`` when it began (``time.monotonic``).
    """

    def __init__(self, label: str, job: Callable[[], Any], about: Any = None, by: str | None = None):
        super().__init__()
        self.label, self.job, self.about, self.by = label, job, about, by
        self.begun: float | None = None


class Engine:
    """Runs jobs on one daemon thread, which starts with the first of them.

    At most ``most_waiting`` long jobs wait behind the one at work, ``most_each`` of them one visitor's.
    """

    def __init__(self, most_waiting: int = MOST_WAITING, most_each: int = MOST_WAITING_EACH) -> None:
        self.most_waiting, self.most_each = most_waiting, most_each
        self._wake = threading.Condition()
        self._short: deque[tuple[Future, Callable[[], Any]]] = deque()
        self._line: deque[Turn] = deque()
        self._at_work: Turn | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def line(self) -> tuple[Turn, ...]:
        """The long jobs: the one at work or about to begin, then those that wait, in their order."""
        with self._wake:
            return self._whole_line()

    @property
    def busy_with(self) -> str | None:
        """What the long job at work is, in words; None where there is none."""
        line = self.line
        return line[0].label if line else None

    @property
    def is_here(self) -> bool:
        """Whether the caller is the engine's thread."""
        return threading.current_thread() is self._thread

    def run(self, job: Callable[[], T]) -> T:
        """The result of ``job``, done on the engine's thread: at once where that is the caller's, else as ``short``."""
        return job() if self.is_here else self.short(job).result()

    def short(self, job: Callable[[], T]) -> Future[T]:
        """Run ``job`` soon: at once, or at the long job's next breathing point."""
        future: Future[T] = Future()
        with self._wake:
            self._refuse_when_closed()
            self._short.append((future, job))
            self._start()
        return future

    def long(self, label: str, job: Callable[[], Any], about: Any = None, by: str | None = None) -> Turn:
        """Run ``job`` when those asked for before it are done. Raises BusyError where the line is full."""
        turn = Turn(label, job, about, by)
        with self._wake:
            self._refuse_when_full(by)
            self._line.append(turn)
            self._start()
        return turn

    def refuse_when_full(self, by: str | None = None) -> None:
        """Raise the BusyError that ``long`` would raise now."""
        with self._wake:
            self._refuse_when_full(by)

    def withdraw(self, about: Any) -> Turn | None:
        """Take a job that has not begun out of the line; None where there is none about that."""
        with self._wake:
            found = next((turn for turn in self._line if turn.about == about), None)
            if found:
                self._line.remove(found)
        # Outside: whoever is told may ask the engine for something.
        if found:
            found.cancel()
        return found

    def breathe(self) -> None:
        """Serve one waiting short job. Called by the long job, on the engine's thread."""
        with self._wake:
            waiting = self._short.popleft() if self._short else None
        if waiting:
            _run(*waiting)

    def close(self) -> list[Turn]:
        """Take no more jobs; the thread ends after the one it is at. Returns the long jobs that will not be done."""
        with self._wake:
            self._closed = True
            left = list(self._line)
            self._line.clear()
            self._wake.notify_all()
        for turn in left:
            turn.cancel()
        return left

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended."""
        if self._thread:
            self._thread.join(timeout)

    def _whole_line(self) -> tuple[Turn, ...]:
        waiting = (turn for turn in self._line if not turn.cancelled())
        return (self._at_work, *waiting) if self._at_work else tuple(waiting)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise BusyError("The lab is closing.")

    def _refuse_when_full(self, by: str | None) -> None:
        self._refuse_when_closed()
        waiting = self._whole_line()[1:]
        if len(waiting) >= self.most_waiting:
            raise BusyError(f"{len(waiting)} runs and evaluations are waiting already: try again when some are done.")
        if by is not None and sum(turn.by == by for turn in waiting) >= self.most_each:
            raise BusyError(f"{self.most_each} of yours are waiting already: withdraw one, or wait until one begins.")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
            self._thread.start()
        self._wake.notify_all()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._short or self._line or self._closed)
                if self._closed and not self._short and not self._line:
                    return
                short = self._short.popleft() if self._short else None
                if short is None:
                    self._at_work = self._line.popleft()
                    self._at_work.begun = time.monotonic()
            if short:
                _run(*short)
            elif self._at_work:
                # Free for the next one before anybody who waits for this one is told.
                _run(self._at_work, self._at_work.job, then=self._long_done)

    def _long_done(self) -> None:
        with self._wake:
            self._at_work = None


def _run(future: Future, job: Callable[[], Any], then: Callable[[], None] = lambda: None) -> None:
    if not future.set_running_or_notify_cancel():
        then()
        return
    try:
        result = job()
    except BaseException as error:  # the thread's boundary: the waiting side gets it
        if not isinstance(error, LabError | Stopped):
            # A fault; of a job that the page began nobody waits for the end.
            log.exception("a job failed")
        then()
        future.set_exception(error)
    else:
        then()
        future.set_result(result)
