"""What is asked for over and over in a moment is looked up once.

A page's poll asks the history some forty questions, most of them the same few. Each answer costs little,
but for each the thread gives way to others and comes back, and the run at work is one of those.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class ReadCache:
    """Remembers answers for the length of a ``with at_once()``, each thread its own; they are not to be changed."""

    def __init__(self) -> None:
        self._threads = threading.local()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, ``once`` remembers."""
        before = self._known
        self._threads.known = {}
        try:
            yield
        finally:
            self._threads.known = before

    def once(self, question: Hashable, answer: Callable[[], T]) -> T:
        """``answer()``, or what it was before in this moment."""
        known = self._known
        if known is None:
            return answer()
        if question not in known:
            known[question] = answer()
        return known[question]

    def forget(self) -> None:
        """What this thread knows is no longer so."""
        if self._known:
            self._known.clear()

    @property
    def _known(self) -> dict[Hashable, Any] | None:
        return getattr(self._threads, "known", None)
