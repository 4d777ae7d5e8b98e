"""Git LFS pointers: what a clone without Git LFS leaves in place of a large file."""

from __future__ import annotations

from typing import BinaryIO

POINTER = b"version https://git-lfs.github.com/spec/v1"
"""How a pointer file begins (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
ADVICE = "run `git lfs pull` in its repository, or download the file itself"


def is_pointer(file: BinaryIO) -> bool:
    """Whether a file that is open at its beginning is a Git LFS pointer."""
    return file.read(len(POINTER)) == POINTER
