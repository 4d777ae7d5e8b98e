"""One connection to the history for all threads: reads, transactions, and the cache of a poll's reads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError
from .connection import explained, open_history
from .read_cache import ReadCache

T = TypeVar("T")


class History:
    """Owns the connection and its lock. Disk errors become LabErrors."""

    def __init__(self, data_dir: Path):
        self._data_dir = data_dir
        self._lock = threading.RLock()
        self._cache = ReadCache()
        self._db = open_history(data_dir)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def read_cache(self) -> Iterator[None]:
        """Inside this block, this thread runs each query once. ``version`` is read first, so no result is older."""
        with self._cache.at_once():
            # If the history cannot be read, the first query raises.
            with suppress(StoreError):
                self.version()
            yield

    def once(self, question: Hashable, answer: Callable[[], T]) -> T:
        """``answer()``, once in a ``read_cache`` block."""
        return self._cache.once(question, answer)

    def version(self) -> tuple[int, int]:
        """A value that changes with every write, by this process or another."""
        return self.once("version", self._version)

    def _version(self) -> tuple[int, int]:
        with self.reading() as db:
            return db.total_changes, db.execute("PRAGMA data_version").fetchone()[0]

    def read(self, query: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        return self.once((query, values), lambda: self._fetch(query, values))

    def _fetch(self, query: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        with self.reading() as db:
            return db.execute(query, values).fetchall()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reads past the cache; all other threads wait."""
        with self._lock, explained(self._data_dir):
            yield self._db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, in one transaction."""
        # The connection commits on success and rolls back on an exception.
        with self._lock, explained(self._data_dir), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._cache.forget()
            yield self._db
            self._cache.forget()
