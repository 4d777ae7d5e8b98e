"""Memory that ran out, and memory that is given back."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .device import best_device
from .machine import available_memory

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_AS_GLIBC_HAS_IT = 128 * 1024
_NEVER = 2**30


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free(device: torch.device) -> int | None:
    """Bytes of a device that can be taken; None where the system does not tell."""
    if device.type == "cuda":
        # What torch keeps for the next to ask, and nobody holds, counts too.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return available_memory()


def give_back() -> None:
    """Return what nobody holds any more to the system and to the GPU."""
    gc.collect()
    if best_device() == "cuda":
        torch.cuda.empty_cache()
    if libc := _glibc():
        libc.malloc_trim(0)


@contextmanager
def kept_pages() -> Iterator[None]:
    """Let the allocator keep what is freed, for the next step to use; give it back afterwards.

    A training step allocates and frees the same hundreds of megabytes. glibc hands such blocks back
    to the system each time, and the system clears them anew, page by page: 8% of a step.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _NEVER)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _AS_GLIBC_HAS_IT)
        libc.mallopt(_M_TRIM_THRESHOLD, _AS_GLIBC_HAS_IT)
        give_back()


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is the one whose allocator this speaks to."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version") else None
