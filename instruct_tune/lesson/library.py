"""Where paths come from: the lab's own, and those that the host of a lab put into a folder."""

from __future__ import annotations

import functools
from pathlib import Path

from ..errors import DataError
from ..text.plain_text import shown_name
from .parse import LessonPath, read_path

STEPS = Path(__file__).parent / "steps"


@functools.cache
def own_path() -> LessonPath:
    """The lab's own path."""
    return read_path(STEPS)


def hosted_path(name: str, folder: Path) -> LessonPath:
    """The path ``name`` in the host's folder: its file ``NAME.md``, or its folder ``NAME``.

    ``name`` is compared with the names in the folder and never becomes part of a file's path. Raises DataError.
    """
    try:
        entries = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"The folder with this lab's paths cannot be read: {error.strerror}.") from error
    paths = {each.stem if each.suffix == ".md" else each.name: each for each in entries if _holds_path(each)}
    if name not in paths:
        raise DataError(f"This lab has no path {shown_name(name)}: its host has none of that name.")
    return read_path(paths[name])


def _holds_path(entry: Path) -> bool:
    return entry.suffix == ".md" or entry.is_dir()
