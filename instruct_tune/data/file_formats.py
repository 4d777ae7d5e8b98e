"""Which files hold rows, by their endings, and text files that are packed with gzip."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from ..config.environment import check_text
from ..errors import DataError

_TEXTS = (".json", ".jsonl", ".csv", ".ndjson", ".tsv")
_PACKED = ".gz"
ENDINGS = (".json", ".jsonl", ".csv", ".parquet", ".ndjson", ".tsv", *(ending + _PACKED for ending in _TEXTS))
NAMED = ".json, .jsonl, .csv, .parquet, .ndjson, .tsv, or one of these texts packed (.jsonl.gz)"
"""The endings as messages name them."""


def ending_of(path: Path) -> str:
    """The ending in small letters, that below ``.gz`` included: ``.jsonl.gz``."""
    *_, before, last = ["", "", *(suffix.lower() for suffix in path.suffixes)]
    return before + last if last == _PACKED else last


def unpacked(file: BinaryIO, ending: str, name: str, most: int | None = None) -> BinaryIO:
    """``file``, or what it unpacks to: at most ``most`` bytes (``limits.LARGEST_TEXT`` where it is None).

    Reading beyond that, and reading a damaged file, raises DataError.
    """
    return io.BufferedReader(_Unpacked(file, name, most)) if ending.endswith(_PACKED) else file


class _Unpacked(io.RawIOBase):
    """Unpacks as it is read, so that a small file that holds very much is noticed in time."""

    def __init__(self, file: BinaryIO, name: str, most: int | None):
        self._packed = gzip.GzipFile(fileobj=file)
        self._name, self._most = name, most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._packed.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._packed.readinto(buffer)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"{self._name} is not a readable gzip file: it is damaged or cut short, pack it again."
            ) from error
        check_text(self._name, self._packed.tell(), self._most)
        return count
