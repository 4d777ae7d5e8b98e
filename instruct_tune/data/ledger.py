"""A ledger as a file: the data section of a configuration, with what it gave, to be had again elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.run_config import DataSettings
from ..errors import DataError
from ..text.plain_text import LONGEST_NAME, text_fault
from .json_text import parse
from .utf8 import decode

MAX_BYTES = 2**20


@dataclass(frozen=True)
class SavedLedger:
    """``data``: a configuration's section, not validated yet; ``fingerprint`` of the rows it gave then."""

    data: dict[str, Any]
    fingerprint: str


def to_text(settings: DataSettings, ledger: Sequence[Mapping[str, Any]], fingerprint: str) -> str:
    """The file's text: the settings, every step's counts, the fingerprint of the rows."""
    return json.dumps({"data": settings.to_dict(), "ledger": list(ledger), "fingerprint": fingerprint}, indent=2)


def save(file: Path, settings: DataSettings, ledger: Sequence[Mapping[str, Any]], fingerprint: str) -> None:
    """Write it. Raises DataError where the file cannot be written."""
    try:
        file.write_text(to_text(settings, ledger, fingerprint), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file} cannot be written ({error.strerror}): choose another place.") from error


def read(file: Path) -> SavedLedger:
    """What ``save`` wrote. Raises DataError for anything else."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file.name} is too large for a ledger: give one that was saved here.")
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file.name} cannot be read ({error.strerror}): give one that was saved here.") from error
    try:
        told = parse(decode(content, file.name), file.name)
    except DataError as error:
        wrong = str(error).rpartition(": ")[0]
        raise DataError(f"{wrong}: mend it, or give one that was saved here.") from error
    fields = told if isinstance(told, dict) else {}
    data, fingerprint = fields.get("data"), fields.get("fingerprint", "")
    if not isinstance(data, dict) or not isinstance(fingerprint, str) or text_fault(fingerprint, LONGEST_NAME):
        raise DataError(f"{file.name} holds no ledger: give one that was saved here.")
    return SavedLedger(data, fingerprint)
