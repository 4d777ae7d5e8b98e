"""Data folder lock: one process writes, the others only read."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from ..errors import BusyError, StoreError

_held: weakref.WeakSet[DataLock] = weakref.WeakSet()


def _close_in_fork() -> None:
    for lock in list(_held):
        lock.close_in_fork()


# A lock is held as long as any process has its file open: a worker that outlives the lab would keep the folder in use.
os.register_at_fork(after_in_child=_close_in_fork)


def make_folder(folder: Path) -> None:
    """Create the folder and its parents if missing. Raises StoreError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The folder {folder} cannot be made ({error.strerror}): give another --data-dir.") from error


class DataLock:
    """Exclusive lock on a data folder, held until ``release`` or the end of the process, crashes included.

    Raises BusyError if another process holds it, StoreError if the folder cannot be locked.
    """

    def __init__(self, data_dir: Path):
        make_folder(data_dir)
        try:
            self._file = open(data_dir / "lab.lock", "a+")  # noqa: SIM115 - stays open while the lock is held
        except OSError as error:
            raise StoreError(f"The folder {data_dir} cannot be written to ({error.strerror}).") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise BusyError(
                f"The data folder {data_dir} is in use by another process (pid {holder}): "
                "stop that one, or give another --data-dir."
            ) from error
        except OSError as error:
            self._file.close()
            raise StoreError(
                f"The data folder {data_dir} lies on a file system without locks ({error.strerror}), where two labs "
                "would write over each other: give a --data-dir on a disk of this machine."
            ) from error
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()
        _held.add(self)

    def close_in_fork(self) -> None:
        """Close the file of this process, a fork; its parent still has the lock."""
        if not self._file.closed:
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, self._file.fileno())
            os.close(nothing)

    def release(self) -> None:
        self._file.close()
