"""The one thread that owns torch.

Everything that touches a model runs here, so nothing locks weights and nothing races. A long job
(a training run, an evaluation) calls ``breathe`` between its steps; there one short job (a
comparison) is served, so that people can talk to a half-trained adapter.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from .errors import BusyError

T = TypeVar("T")


class Engine:
    """Runs jobs on one daemon thread, which starts with the first of them."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._short: deque[tuple[Future, Callable[[], Any]]] = deque()
        self._long: tuple[Future, Callable[[], Any]] | None = None
        self._long_label: str | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def busy_with(self) -> str | None:
        """What the long job at work is, in words; None where there is none."""
        return self._long_label

    def short(self, job: Callable[[], T]) -> Future[T]:
        """Run ``job`` soon: at once, or at the long job's next breathing point."""
        future: Future[T] = Future()
        with self._wake:
            self._refuse_when_closed()
            self._short.append((future, job))
            self._start()
        return future

    def long(self, label: str, job: Callable[[], T]) -> Future[T]:
        """Run ``job``, alone of its kind. Raises BusyError, naming the other, where one is at work."""
        future: Future[T] = Future()
        with self._wake:
            self._refuse_when_closed()
            if self._long_label is not None:
                raise BusyError(f"The lab is busy with {self._long_label}: wait until it is done, or stop it.")
            self._long, self._long_label = (future, job), label
            self._start()
        return future

    def breathe(self) -> None:
        """Serve one waiting short job. Called by the long job, on the engine's thread."""
        with self._wake:
            waiting = self._short.popleft() if self._short else None
        if waiting:
            _run(*waiting)

    def on_thread(self) -> bool:
        """Whether the caller is the engine's own thread."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """Take no more jobs; the thread ends after the one it is at."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended."""
        if self._thread:
            self._thread.join(timeout)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise BusyError("The lab is closing.")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
            self._thread.start()
        self._wake.notify_all()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._short or self._long or self._closed)
                if self._closed and not self._short and not self._long:
                    return
                short = self._short.popleft() if self._short else None
                long = self._long if short is None else None
            if short:
                _run(*short)
            elif long:
                # Free for the next one before anybody who waits for this one is told.
                _run(*long, then=self._long_done)

    def _long_done(self) -> None:
        with self._wake:
            self._long = self._long_label = None


def _run(future: Future, job: Callable[[], Any], then: Callable[[], None] = lambda: None) -> None:
    if not future.set_running_or_notify_cancel():
        then()
        return
    try:
        result = job()
    except BaseException as error:  # the thread's boundary: the waiting side gets it
        then()
        future.set_exception(error)
    else:
        then()
        future.set_result(result)
