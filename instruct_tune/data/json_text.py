"""Read JSON files that a person supplies: datasets, prompts, configurations, ledgers.

Files are UTF-8, with or without a byte order mark. Only ``\\n`` ends a line: U+2028, NEL and others that
``str.splitlines`` also splits at may occur inside a JSON text. Every error is a DataError that names the place.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DataError
from ..text.plain_text import shown_name
from .utf8 import decode


def parse(text: str, name: str, first_line: int = 1) -> Any:
    """Parse ``text``, which begins at line ``first_line`` of the file ``name``."""
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except _RepeatedKey as error:
        line = f" at line {first_line}" if first_line > 1 else ""
        raise DataError(
            f"{name} has the key {shown_name(str(error))} twice in one object{line}: keep the one that counts."
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name} is not valid JSON at line {first_line + error.lineno - 1} ({error.msg}): "
            "mend that line, or export the file again if it was cut short."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} has a number too long or lists too deep to be read: remove them.") from error


class _RepeatedKey(Exception):
    """An object names a key twice; JSON does not say which one counts."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, each in pairs:
        if key in value:
            raise _RepeatedKey(key)
        value[key] = each
    return value


def lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) for every line that is not blank."""
    before = 0
    for number, content in enumerate(file, start=1):
        line = decode(content, name, before)
        before += len(content)
        if line.strip():
            yield number, line


def begins_a_list(file: BinaryIO) -> bool:
    """Whether the first character other than white space is ``[``; rewinds the file."""
    first = file.read(1024).removeprefix(codecs.BOM_UTF8).lstrip()
    while not first and (more := file.read(1024)):
        first = more.lstrip()
    file.seek(0)
    return first.startswith(b"[")


def read_bytes(path: Path) -> bytes:
    """Return the file's bytes. Raises DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the path and who may read it.") from error


def read_value(path: Path) -> Any:
    """Return the one JSON value of a file."""
    return parse(decode(read_bytes(path), str(path)), str(path))


def values(content: bytes, name: str) -> list[Any]:
    """Return the values of a file: the items of its list, or one per line."""
    file = io.BytesIO(content)
    if begins_a_list(file):
        return parse(decode(content, name), name)
    return [parse(line, name, number) for number, line in lines(file, name)]
