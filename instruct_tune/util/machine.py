"""Free memory of the machine. Does not import torch, because the lab checks the memory before that import."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that programs can still allocate, including the page cache; None if the system does not report it."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        lines = []
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    if "MemAvailable" in sizes:
        return sizes["MemAvailable"]
    return unused_memory()


def unused_memory() -> int | None:
    """Bytes that are entirely unused, excluding the page cache; None if the system does not report it."""
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
