"""The libraries that a script needs, pinned to the versions that this lab has or that the run was trained with."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections.abc import Mapping

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "sacrebleu")


def pinned(recorded: Mapping[str, str], *more: str) -> list[str]:
    """``name==version`` for each library, and for ``more``; ``recorded`` versions go before the installed ones."""
    return [f"{name}=={version_of(name, recorded)}" for name in (*LIBRARIES, *more)]


def version_of(name: str, recorded: Mapping[str, str]) -> str:
    """The version that a script asks for, without the build's name: PyPI has no ``2.13.0+cpu``."""
    return (recorded.get(name) or _installed(name)).partition("+")[0]


@functools.cache
def _installed(name: str) -> str:
    return importlib.metadata.version(name)


def header(requirements: list[str]) -> str:
    """The script's metadata as PEP 723 has it, which ``uv run`` and ``hf jobs uv run`` read."""
    python = "3.11" if sys.version_info >= (3, 11) else "3.10"
    lines = "".join(f'#     "{each}",\n' for each in requirements)
    return f'# /// script\n# requires-python = ">={python}"\n# dependencies = [\n{lines}# ]\n# ///\n'
