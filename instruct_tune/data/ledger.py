"""Save and read a ledger file: a configuration's data section with its results, to reproduce the rows elsewhere."""

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
    """``data``: the configuration's data section, not validated yet. ``fingerprint``: hash of the rows it produced."""

    data: dict[str, Any]
    fingerprint: str


def to_text(settings: DataSettings, ledger: Sequence[Mapping[str, Any]], fingerprint: str) -> str:
    """Return the file's text: the settings, the counts of each step, the fingerprint of the rows."""
    return json.dumps({"data": settings.to_dict(), "ledger": list(ledger), "fingerprint": fingerprint}, indent=2)


def save(file: Path, settings: DataSettings, ledger: Sequence[Mapping[str, Any]], fingerprint: str) -> None:
    """Write the ledger. Raises DataError if the file cannot be written."""
    try:
        file.write_text(to_text(settings, ledger, fingerprint), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file} cannot be written ({error.strerror}): choose another place.") from error


def read(file: Path) -> SavedLedger:
    """Read a file that ``save`` wrote. Raises DataError for anything else."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file.name} is too large for a ledger: give one that was saved here.")
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file.name} cannot be read ({error.strerror}): give one that was saved here.") from error
    try:
        value = parse(decode(content, file.name), file.name)
    except DataError as error:
        reason = str(error).rpartition(": ")[0]
        raise DataError(f"{reason}: mend it, or give one that was saved here.") from error
    fields = value if isinstance(value, dict) else {}
    data, fingerprint = fields.get("data"), fields.get("fingerprint", "")
    if not isinstance(data, dict) or not isinstance(fingerprint, str) or text_fault(fingerprint, LONGEST_NAME):
        raise DataError(f"{file.name} holds no ledger: give one that was saved here.")
    return SavedLedger(data, fingerprint)
