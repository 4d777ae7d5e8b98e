"""The exceptions of zipfile on a damaged zip."""

from __future__ import annotations

import zipfile
import zlib

ZIP_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError),
    # An unsupported version, a password, a name that is not UTF-8, an impossible offset.
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)
