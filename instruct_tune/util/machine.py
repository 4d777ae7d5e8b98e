"""How much memory the machine can still give. Without torch: the lab asks before it imports it."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that programs can still take, what only caches files among them; None where the system does not tell."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        lines = []
    told = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    if "MemAvailable" in told:
        return told["MemAvailable"]
    return unused_memory()


def unused_memory() -> int | None:
    """Bytes that hold nothing at all, not even copies of files; None where the system does not tell."""
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
