"""File endings that the lab reads rows from, and reading of gzip-compressed text files."""

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
"""The endings, as error messages list them."""


def ending_of(path: Path) -> str:
    """Return the ending in lower case; before ``.gz`` it includes the inner ending: ``.jsonl.gz``."""
    *_, before, last = ["", "", *(suffix.lower() for suffix in path.suffixes)]
    return before + last if last == _PACKED else last


def unpacked(file: BinaryIO, ending: str, name: str, most: int | None = None) -> BinaryIO:
    """Return ``file``, decompressed if ``ending`` is ``.gz``, limited to ``most`` bytes (None: ``LARGEST_TEXT``).

    Reading beyond the limit, or reading a damaged file, raises DataError.
    """
    return io.BufferedReader(_Unpacked(file, name, most)) if ending.endswith(_PACKED) else file


class _Unpacked(io.RawIOBase):
    """Decompresses while it is read, so that a small file with huge content is detected early."""

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
