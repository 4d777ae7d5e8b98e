"""Why a run failed: its kind, one sentence on what to do, and where in the code it was."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DiskFullError, LabError, StoreError
from ..store.connection import FULL, disk_error
from ..util import memory

LONGEST = 20_000
"""Characters of a traceback that are kept: its end, where the fault is."""

_OUT_OF_REACH = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EIO, errno.ESTALE, errno.ENOTCONN)
# Writers that say it in words only: safetensors' (the system's own words) and torch's.
_FULL_IN_WORDS = ("No space left on device", "File too large", "PytorchStreamWriter failed writing")


@dataclass(frozen=True)
class Failure:
    """``kind`` is one of the kinds in ``errors``; ``message`` is fit to be shown as it is."""

    kind: str
    message: str
    traceback: str


def failure(error: Exception, data_dir: Path) -> Failure:
    """What ``error``, which ended a run, means to the person who started it."""
    told = "".join(traceback.format_exception(error))[-LONGEST:]
    # A full disk shows in many ways, some of which are taken for damaged files on the way up.
    if any(_disk_full(each) for each in _chain(error)):
        return Failure(DiskFullError.kind, str(DiskFullError.of(data_dir)), told)
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _OUT_OF_REACH and _inside(each.filename, data_dir):
            return Failure(StoreError.kind, str(disk_error(each, data_dir)), told)
    if isinstance(error, LabError):
        return Failure(error.kind, str(error), told)
    if memory.ran_out(error):
        message = "The memory ran out: lower train.max_length or lora.r, choose a smaller model, or end other programs."
        return Failure("memory", message, told)
    message = (
        "The run failed through a fault of the lab, not of yours: resume it once; if it fails again, report what "
        "Runs shows under What happened."
    )
    return Failure("bug", message, told)


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
    return any(words in str(error) for words in _FULL_IN_WORDS)
