"""Decode a file's bytes as UTF-8, with an error that names the first invalid byte."""

from __future__ import annotations

import codecs

from ..errors import DataError


def decode(content: bytes, name: str, before: int = 0) -> str:
    """Decode ``content``, which begins at byte ``before`` of the file ``name``; removes the file's byte order mark.

    Raises DataError if it is not UTF-8.
    """
    at_start = before == 0
    text = content.removeprefix(codecs.BOM_UTF8) if at_start else content
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        utf16 = at_start and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        position = before + len(content) - len(text) + error.start + 1
        raise DataError(
            f"{name} is not UTF-8 text{' but looks like UTF-16' if utf16 else ''} "
            f"(byte {position:,} is the first that is wrong): save it as UTF-8."
        ) from error
