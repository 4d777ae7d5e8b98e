"""The machine in plain words, without a word that names it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def described() -> str:
    """Processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu_model()}, {os.cpu_count() or 1} cores, {memory:.0f} GiB"


def cpu_model() -> str:
    """The processor as the system calls it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def busy() -> float:
    """Processes that wanted a processor, on average over the last minute."""
    return os.getloadavg()[0]
