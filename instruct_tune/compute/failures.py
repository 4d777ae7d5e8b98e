"""Why a run failed: the kind of error, one sentence on what to do, and the traceback."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DiskFullError, LabError, StoreError
from ..store.connection import FULL, disk_error

LONGEST = 20_000
"""How many characters of a traceback are stored: its end, which contains the error."""

_UNREACHABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EIO, errno.ESTALE, errno.ENOTCONN)
# safetensors and torch report a full disk only in the text of their errors.
_FULL_MESSAGES = ("No space left on device", "File too large", "PytorchStreamWriter failed writing")


@dataclass(frozen=True)
class Failure:
    """``kind`` is one of the kinds in ``errors``; ``message`` is written for the page."""

    kind: str
    message: str
    traceback: str


def failure(error: Exception, data_dir: Path) -> Failure:
    """The failure of a run that ``error`` ended, for the person who started it."""
    if isinstance(error, WorkerFailedError):
        return error.failure
    # Imports torch, which the page does not need.
    from ..util import memory

    trace = "".join(traceback.format_exception(error))[-LONGEST:]
    # A full disk causes many errors, some of which are converted to errors of damaged files further up.
    if any(_disk_full(cause) for cause in _chain(error)):
        return Failure(DiskFullError.kind, str(DiskFullError.of(data_dir)), trace)
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in _UNREACHABLE and _inside(cause.filename, data_dir):
            return Failure(StoreError.kind, str(disk_error(cause, data_dir)), trace)
    if isinstance(error, LabError):
        return Failure(error.kind, str(error), trace)
    if memory.ran_out(error):
        message = "The memory ran out: lower train.max_length or lora.r, choose a smaller model, or end other programs."
        return Failure("memory", message, trace)
    message = (
        "The run failed through a fault of the lab, not of yours: resume it once; if it fails again, report what "
        "Runs shows under What happened."
    )
    return Failure("bug", message, trace)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _inside(file: object, data_dir: Path) -> bool:
    return isinstance(file, str) and Path(file).is_relative_to(data_dir)


def _disk_full(error: BaseException) -> bool:
    if isinstance(error, DiskFullError):
        return True
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(words in str(error) for words in _FULL_MESSAGES)


class WorkerFailedError(Exception):
    """A worker process failed; ``failure`` is what it found out about that."""

    def __init__(self, failure: Failure):
        super().__init__(failure.message)
        self.failure = failure
