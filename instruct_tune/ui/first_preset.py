"""The preset that a new page begins with."""

from __future__ import annotations

from pathlib import Path

from ..util.device import wants_cpu


def first_preset() -> str:
    """The preset of a new page: half a minute of training where there is no GPU."""
    # Importing torch would delay the page by seconds; the NVIDIA driver's device file shows a GPU as well.
    return "quick" if Path("/dev/nvidia0").exists() and not wants_cpu() else "minute"
