"""SHA-256 of files, texts and JSON values, as hex digits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

CHUNK = 2**18


def sha256_of_file(file: Path) -> str:
    """The hash of the file's bytes. Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_text(text: str) -> str:
    """The hash of the text's UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of_json(value: Any) -> str:
    """The hash of the value as JSON with sorted keys."""
    return sha256_of_text(json.dumps(value, sort_keys=True))
