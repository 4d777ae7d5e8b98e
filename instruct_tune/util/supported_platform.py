"""Platform check before the rest of the package is imported; on an unsupported one the process ends with one sentence.

Standard library only, in syntax that older Pythons can parse.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

OLDEST_PYTHON = (3, 10)
"""The pinned peft, datasets and gradio have no release for older ones."""


def require_supported_platform() -> None:
    """Exit with status 1 and one sentence on stderr if the lab cannot run."""
    if reason := unsupported(sys.version_info[:2], sys.platform, find_spec("fcntl") is not None):
        raise SystemExit(reason)


def unsupported(python: tuple[int, int], platform: str, has_locks: bool) -> str | None:
    """Why the lab cannot run, and what to do; None if it can.

    ``has_locks``: whether the standard library has ``fcntl``, whose locks keep two processes from writing to one
    data folder. ``platform``: as ``sys.platform``.
    """
    if not has_locks:
        return (
            f"Instruction-Tuning Lab runs on Linux and macOS, and this platform ({platform}) lacks the file locks that "
            "it needs: on Windows, run it in WSL."
        )
    if python < OLDEST_PYTHON:
        return (
            "Instruction-Tuning Lab needs Python {}.{} or newer, and this is {}.{}: ".format(*OLDEST_PYTHON, *python)
            + "make its .venv with a newer one (make clean, then make run PYTHON=/path/to/python)."
        )
    return None
