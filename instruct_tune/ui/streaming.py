"""What comes to a window piece by piece: how often it is sent, what it keeps, which decoding it waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

SECONDS_BETWEEN_UPDATES = 1 / 6
"""Often enough to look like flowing; more, and a browser on the same two cores takes more than half of them to draw."""
MAX_SECONDS_TO_LEAVE = 2


def at_most(
    updates: Iterable[Mapping[str, Any]], seconds: float = SECONDS_BETWEEN_UPDATES
) -> Iterator[Mapping[str, Any]]:
    """The updates without texts that follow within ``seconds`` of the last one; messages and the end are kept."""
    last, message = 0.0, None
    for texts in updates:
        now = time.monotonic()
        if texts["done"] or texts.get("message") != message or now - last >= seconds:
            last, message = now, texts.get("message")
            yield texts


def all_so_far(updates: Iterable[dict[Any, Any]]) -> Iterator[dict[Any, Any]]:
    """Each update with all that those before it said and it does not say anew.

    gradio sends the difference between two updates, and the page works it into the first, which it may not have shown
    yet. So what the second leaves out would be taken from the first: rows that should go would stay in sight for good.
    """
    said: dict[Any, Any] = {}
    for update in updates:
        said |= update
        yield dict(said)


class Turns:
    """The decoding that each window waits for, so that Stop and a change of row end the right one."""

    def __init__(self) -> None:
        self._stops: dict[str | None, threading.Event] = {}
        self._left: dict[threading.Event, threading.Event] = {}

    @contextmanager
    def of(self, window: str | None) -> Iterator[threading.Event]:
        """The event that ends this window's decoding; the decoding before it is dropped here."""
        self.drop(window)
        stop = self._stops[window] = threading.Event()
        left = self._left[stop] = threading.Event()
        try:
            yield stop
        finally:
            stop.set()
            left.set()
            del self._left[stop]
            if self.holds(window, stop):
                del self._stops[window]

    def holds(self, window: str | None, stop: threading.Event) -> bool:
        """Whether this is still what the window waits for; else nothing of it may be shown any more."""
        return self._stops.get(window) is stop

    def stop(self, window: str | None) -> None:
        """End what this window waits for, if anything; what is there by then is kept."""
        if before := self._stops.get(window):
            before.set()

    def drop(self, window: str | None) -> None:
        """End it, and show no more of it: the window has turned to something else.

        Waits until what it sends last is on its way (or ``MAX_SECONDS_TO_LEAVE``): else that could
        arrive after what the window is sent next.
        """
        stop = self._stops.pop(window, None)
        if stop is None:
            return
        stop.set()
        if left := self._left.get(stop):
            left.wait(MAX_SECONDS_TO_LEAVE)
