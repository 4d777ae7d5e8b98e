"""Detect out-of-memory errors, query free memory and release it."""

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
_GLIBC_DEFAULT = 128 * 1024
_NEVER = 2**30


def ran_out(error: BaseException) -> bool:
    """Whether an error means out of memory, on a GPU or in the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def free(device: torch.device) -> int | None:
    """Free bytes of a device; None if the system does not report it."""
    if device.type == "cuda":
        # Unused blocks in torch's caching allocator count as free.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return available_memory()


def give_back() -> None:
    """Release unreferenced memory to the system and the GPU."""
    gc.collect()
    if best_device() == "cuda":
        torch.cuda.empty_cache()
    if libc := _glibc():
        libc.malloc_trim(0)


@contextmanager
def kept_pages() -> Iterator[None]:
    """Let glibc's allocator keep freed memory for the next step; release it afterwards.

    A training step allocates and frees the same hundreds of megabytes. By default glibc returns such blocks to the
    system each time, which then clears them again, page by page: 8% of a step.
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
        libc.mallopt(_M_MMAP_THRESHOLD, _GLIBC_DEFAULT)
        libc.mallopt(_M_TRIM_THRESHOLD, _GLIBC_DEFAULT)
        give_back()


def _glibc() -> ctypes.CDLL | None:
    """The C library if it is glibc, which has ``mallopt`` and ``malloc_trim``; else None."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version") else None
