"""What the host sets in environment variables: the data folder, and limits of uploads, rows, downloads, caches."""

from __future__ import annotations

import math
import os
from pathlib import Path

import platformdirs

from ..errors import DataError, LabError, SettingsError
from .viewer import multi_user

MEGABYTE = 2**20
LARGEST_TEXT = 1024 * MEGABYTE
"""Maximum bytes of one file's texts after decompression: a parquet file of a few bytes can hold gigabytes."""


def default_data_dir() -> Path:
    """``LAB_DATA_DIR``, else the platform's user data folder."""
    return Path(os.environ.get("LAB_DATA_DIR") or platformdirs.user_data_dir("instruction-tuning-lab"))


def max_upload_bytes() -> int:
    """The maximum size of an upload: ``LAB_MAX_UPLOAD_MB``, by default 100 MB."""
    return _number("LAB_MAX_UPLOAD_MB", 100) * MEGABYTE


def max_rows() -> int:
    """The maximum rows of a dataset: ``LAB_MAX_ROWS``, by default a million."""
    return _number("LAB_MAX_ROWS", 1_000_000)


def max_cache_bytes() -> int:
    """The maximum size of all converted weights: ``LAB_MAX_CACHE_MB``, by default 20,000 MB."""
    return _number("LAB_MAX_CACHE_MB", 20_000) * MEGABYTE


def max_visitor_bytes() -> int:
    """The maximum size of one visitor's uploads and runs: ``LAB_VISITOR_MB``, by default 500 MB."""
    return _number("LAB_VISITOR_MB", 500) * MEGABYTE


def mebibytes(size: int) -> str:
    """``1_572_864`` bytes → ``1.5 MB``, in the unit of the limits."""
    return f"{size / MEGABYTE:,.1f} MB"


def check_upload(name: str, size: int) -> None:
    """Raise DataError if ``size`` bytes exceed the upload limit."""
    most = max_upload_bytes()
    if size > most:
        raise DataError(
            f"{name} has {mebibytes(size)}, and this lab takes uploads of at most {most // MEGABYTE:,} MB: "
            "upload a part of it."
        )


def check_rows(name: str, rows: int, *, counting: bool = False) -> None:
    """Raise DataError if ``rows`` exceeds the row limit; ``counting``: the count goes on, so there may be more."""
    most = max_rows()
    if rows > most:
        count = f"more than {most:,}" if counting else f"{rows:,}"
        raise DataError(f"{name} has {count} rows, and this lab takes at most {most:,}: give a part of it.")


def check_download(name: str, size: int, error: type[LabError] = DataError) -> None:
    """Raise ``error`` if the files of a dataset or model on the Hub, ``size`` bytes, exceed the download limit.

    The limit is ``LAB_MAX_DOWNLOAD_MB``, by default 2,000 MB if several people use the lab, else 50,000 MB.
    """
    most = _number("LAB_MAX_DOWNLOAD_MB", 2000 if multi_user() else 50_000) * MEGABYTE
    if size > most:
        raise error(
            f"{name} has {math.ceil(size / MEGABYTE):,} MB of files, and this lab downloads at most "
            f"{most // MEGABYTE:,} MB: choose a smaller one, raise LAB_MAX_DOWNLOAD_MB, or download what you need "
            "yourself and give it as a file or folder."
        )


def check_text(name: str, size: int, most: int | None = None) -> None:
    """Raise DataError for texts of more than ``most`` bytes (None: ``LARGEST_TEXT``)."""
    most = LARGEST_TEXT if most is None else most
    if size > most:
        raise DataError(
            f"The texts of {name} unpack to more than {most // MEGABYTE:,} MB, which is more than this lab "
            "takes: give a part of it."
        )


def whole_number(variable: str, default: int) -> int:
    """The environment variable as an integer of at least 1. Raises SettingsError for anything else."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError([f"{variable} must be a whole number from 1 on, not {text[:40]!r}"])
    return int(text)


OAUTH_VARIABLES = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
"""Set by the platform on a Space with ``hf_oauth: true``."""


def offers_sign_in() -> bool:
    """Whether visitors can sign in with Hugging Face: on a Space that has OAuth.

    Elsewhere gradio would let everybody act as the account whose token is on the machine, and with an empty secret
    anybody could sign a session.
    """
    # By SYSTEM gradio tells a Space from a machine.
    return os.environ.get("SYSTEM") == "spaces" and all(os.environ.get(name) for name in ("SPACE_ID", *OAUTH_VARIABLES))


def paths_dir(data_dir: Path) -> Path:
    """The folder of the host's paths through the lab: ``LAB_PATHS_DIR``, by default ``paths`` in the data folder."""
    named = os.environ.get("LAB_PATHS_DIR", "").strip()
    return Path(named).expanduser() if named else data_dir / "paths"


def fetches_default_model() -> bool:
    """Whether the default model is downloaded before somebody uses it: ``LAB_FETCH_DEFAULT``, 1 or 0, by default 1."""
    text = os.environ.get("LAB_FETCH_DEFAULT", "").strip() or "1"
    if text not in ("0", "1"):
        raise SettingsError([f"LAB_FETCH_DEFAULT must be 1 or 0, not {text[:40]!r}"])
    return text == "1"


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise SettingsError([f"{variable} must be a whole number from 1 on, not {text!r}"])
    return int(text)
