"""Git LFS pointers: small files that a clone without Git LFS has in place of large ones."""

from __future__ import annotations

from typing import BinaryIO

POINTER = b"version https://git-lfs.github.com/spec/v1"
"""First bytes of a pointer file (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
ADVICE = "run `git lfs pull` in its repository, or download the file itself"


def is_pointer(file: BinaryIO) -> bool:
    """Whether a file, opened and still at its beginning, is a Git LFS pointer."""
    return file.read(len(POINTER)) == POINTER
