"""Read cache for the length of one poll, per thread.

A page's poll makes about forty queries, most of them repeats of the same few. Each is cheap, but at each the thread
yields the interpreter to others, the training thread among them, and waits to get it back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class ReadCache:
    """Caches results inside a ``with at_once()`` block, separately per thread. Callers must not change the results."""

    def __init__(self) -> None:
        self._threads = threading.local()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside this block, ``once`` caches."""
        before = self._entries
        self._threads.entries = {}
        try:
            yield
        finally:
            self._threads.entries = before

    def once(self, question: Hashable, answer: Callable[[], T]) -> T:
        """The cached result for ``question``; on a miss, or outside ``at_once``, the result of ``answer()``."""
        cache = self._entries
        if cache is None:
            return answer()
        if question not in cache:
            cache[question] = answer()
        return cache[question]

    def forget(self) -> None:
        """Drop this thread's cached results."""
        if self._entries:
            self._entries.clear()

    @property
    def _entries(self) -> dict[Hashable, Any] | None:
        return getattr(self._threads, "entries", None)
