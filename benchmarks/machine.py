"""The machine in plain words, without its name."""

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
    """The processor's model name as the system reports it."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def busy() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]
