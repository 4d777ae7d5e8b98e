"""A file's bytes as text, or the sentence that says where they are none."""

from __future__ import annotations

import codecs

from ..errors import DataError


def decode(content: bytes, name: str, before: int = 0) -> str:
    """``content``, which begins ``before`` bytes into the file ``name``; a byte order mark at its beginning goes.

    Raises DataError where it is not UTF-8.
    """
    at_start = before == 0
    text = content.removeprefix(codecs.BOM_UTF8) if at_start else content
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        utf16 = at_start and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        wrong = before + len(content) - len(text) + error.start + 1
        raise DataError(
            f"{name} is not UTF-8 text{' but looks like UTF-16' if utf16 else ''} "
            f"(byte {wrong:,} is the first that is wrong): save it as UTF-8."
        ) from error
