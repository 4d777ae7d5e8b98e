"""Streaming to a browser window: how often updates are sent, and which decoding is current."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

SECONDS_BETWEEN_UPDATES = 1 / 6
"""Often enough to look smooth; with more, a browser on the same two cores takes over half of them to draw."""
MAX_SECONDS_TO_LEAVE = 2


def at_most(
    updates: Iterable[Mapping[str, Any]], seconds: float = SECONDS_BETWEEN_UPDATES
) -> Iterator[Mapping[str, Any]]:
    """Drop updates that follow within ``seconds`` of the last one, except new messages and the end."""
    last, message = 0.0, None
    for texts in updates:
        now = time.monotonic()
        if texts["done"] or texts.get("message") != message or now - last >= seconds:
            last, message = now, texts.get("message")
            yield texts


class Newest:
    """Each window's newest request of a kind: what an older one finds, and finds later, is not shown."""

    def __init__(self) -> None:
        self._begun: dict[str | None, object] = {}

    @contextmanager
    def of(self, window: str | None) -> Iterator[Callable[[], bool]]:
        """Begin a request of this window, and yield whether it is the newest."""
        own = self._begun[window] = object()

        def is_newest() -> bool:
            return self._begun.get(window) is own

        try:
            yield is_newest
        finally:
            if is_newest():
                self.drop(window)

    def is_under_way(self, window: str | None) -> bool:
        return window in self._begun

    def drop(self, window: str | None) -> None:
        """What is under way for this window is not to be shown: the window shows something else now."""
        self._begun.pop(window, None)


class Turns:
    """Each window's current decoding, so that Stop and a change of row end the right one."""

    def __init__(self) -> None:
        self._stops: dict[str | None, threading.Event] = {}
        self._finished: dict[threading.Event, threading.Event] = {}

    @contextmanager
    def of(self, window: str | None) -> Iterator[threading.Event]:
        """Drop this window's earlier decoding, and yield the event that ends the new one."""
        self.drop(window)
        stop = self._stops[window] = threading.Event()
        finished = self._finished[stop] = threading.Event()
        try:
            yield stop
        finally:
            stop.set()
            finished.set()
            del self._finished[stop]
            if self.holds(window, stop):
                del self._stops[window]

    def holds(self, window: str | None, stop: threading.Event) -> bool:
        """Whether ``stop`` belongs to the window's current decoding; if not, none of it may be shown."""
        return self._stops.get(window) is stop

    def is_at_work(self, window: str | None) -> bool:
        """Whether something is decoded for the window."""
        return window in self._stops

    def stop(self, window: str | None) -> None:
        """End this window's decoding, if there is one; the text so far stays."""
        if stop := self._stops.get(window):
            stop.set()

    def drop(self, window: str | None) -> None:
        """End this window's decoding and show no more of it: the window shows something else now.

        Waits until its last update is sent, at most ``MAX_SECONDS_TO_LEAVE``: else that could arrive after the
        window's next update.
        """
        stop = self._stops.pop(window, None)
        if stop is None:
            return
        stop.set()
        if finished := self._finished.get(stop):
            finished.wait(MAX_SECONDS_TO_LEAVE)
