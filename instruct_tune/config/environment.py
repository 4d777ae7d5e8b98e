"""What the host of a lab lets in: how large an upload may be, how many rows a dataset may have."""

from __future__ import annotations

import math
import os

from ..errors import DataError, LabError, SettingsError
from .viewer import multi_user

MEGABYTE = 2**20
LARGEST_TEXT = 1024 * MEGABYTE
"""Bytes that the texts of one file may unpack to: a parquet file of a few bytes can hold gigabytes."""


def max_upload_bytes() -> int:
    """The largest upload: ``LAB_MAX_UPLOAD_MB``, 100 MB where it is not set."""
    return _number("LAB_MAX_UPLOAD_MB", 100) * MEGABYTE


def max_rows() -> int:
    """The most rows a dataset may have: ``LAB_MAX_ROWS``, a million where it is not set."""
    return _number("LAB_MAX_ROWS", 1_000_000)


def max_cache_bytes() -> int:
    """The most bytes of converted weights: ``LAB_MAX_CACHE_MB``, 20,000 MB where it is not set."""
    return _number("LAB_MAX_CACHE_MB", 20_000) * MEGABYTE


def max_visitor_bytes() -> int:
    """The most bytes of uploads and runs that one visitor may keep: ``LAB_VISITOR_MB``, 500 MB where it is not set."""
    return _number("LAB_VISITOR_MB", 500) * MEGABYTE


def check_upload(name: str, size: int) -> None:
    """Raise DataError for a file of ``size`` bytes that is larger than an upload may be."""
    most = max_upload_bytes()
    if size > most:
        raise DataError(
            f"{name} has {size / MEGABYTE:,.1f} MB, and this lab takes uploads of at most {most // MEGABYTE:,} MB: "
            "upload a part of it."
        )


def check_rows(name: str, rows: int, *, counting: bool = False) -> None:
    """Raise DataError for more rows than this lab takes; ``counting`` says that there may be more still."""
    most = max_rows()
    if rows > most:
        told = f"more than {most:,}" if counting else f"{rows:,}"
        raise DataError(f"{name} has {told} rows, and this lab takes at most {most:,}: give a part of it.")


def check_download(name: str, size: int, error: type[LabError] = DataError) -> None:
    """Raise ``error`` for a dataset or model of the Hub whose files have more bytes than this lab downloads.

    That is ``LAB_MAX_DOWNLOAD_MB``; where it is not set, 2,000 MB if several people use the lab, else 50,000 MB.
    """
    most = _number("LAB_MAX_DOWNLOAD_MB", 2000 if multi_user() else 50_000) * MEGABYTE
    if size > most:
        raise error(
            f"{name} has {math.ceil(size / MEGABYTE):,} MB of files, and this lab downloads at most "
            f"{most // MEGABYTE:,} MB: choose a smaller one, raise LAB_MAX_DOWNLOAD_MB, or download what you need "
            "yourself and give it as a file or folder."
        )


def check_text(name: str, size: int, most: int | None = None) -> None:
    """Raise DataError for texts of more than ``most`` bytes (``LARGEST_TEXT`` where it is None)."""
    most = LARGEST_TEXT if most is None else most
    if size > most:
        raise DataError(
            f"The texts of {name} unpack to more than {most // MEGABYTE:,} MB, which is more than this lab "
            "takes: give a part of it."
        )


def whole_number(variable: str, default: int) -> int:
    """The whole number from 1 on that the environment variable holds. Raises SettingsError for anything else."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError([f"{variable} must be a whole number from 1 on, not {text[:40]!r}"])
    return int(text)


def _number(variable: str, default: int) -> int:
    given = os.environ.get(variable, "").strip() or str(default)
    if not (given.isascii() and given.isdigit() and 0 < int(given) < 10**9):
        raise SettingsError([f"{variable} must be a whole number from 1 on, not {given!r}"])
    return int(given)
