"""Uploaded files in the data folder: kept under names nobody can guess, each with its owner."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ..config.environment import check_upload
from ..config.viewer import Viewer
from ..data import upload_names
from ..data.file_formats import ENDINGS, NAMED, ending_of
from ..errors import DataError
from ..store.connection import on_disk
from ..text.plain_text import shown_name
from .access import Access
from .quota import Quota


class Uploads:
    """Owns the folder of uploads. The host's files lie in it, each visitor's in a folder of their own."""

    def __init__(self, data_dir: Path, access: Access, quota: Quota):
        self.folder = data_dir / "uploads"
        self._data_dir, self._access, self._quota = data_dir, access, quota

    def keep(self, viewer: Viewer, file: Path) -> Path:
        """Copy a file into the data folder; returns its new path.

        It is ``viewer``'s alone; the host's is everyone's. Raises DataError for a file that cannot be read, and where
        a visitor keeps too much already.
        """
        with self.adding(viewer, file.stat().st_size):
            suffix = ending_of(file)
            if suffix not in ENDINGS:
                raise DataError(
                    f"A {shown_name(suffix) if suffix else 'nameless'} file cannot be read: upload one of {NAMED}."
                )
            check_upload(file.name, file.stat().st_size)
            folder = self.folder_of(viewer)
            kept = folder / (secrets.token_urlsafe(12) + suffix)
            with on_disk(self._data_dir), _removed_on_error(kept):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, kept)
                upload_names.remember(kept, file.name)
            return kept

    def adding(self, viewer: Viewer, size: int) -> AbstractContextManager[None]:
        """Inside, ``viewer`` adds ``size`` bytes. Raises DataError beyond their quota."""
        return self._quota.adding(viewer, size) if self._access.has_quota(viewer) else contextlib.nullcontext()

    def require_room(self, viewer: Viewer, size: int = 0) -> None:
        """Raise DataError where a visitor's quota has no room for ``size`` bytes more."""
        if self._access.has_quota(viewer):
            self._quota.require_room(viewer, size)

    def folder_of(self, viewer: Viewer) -> Path:
        """Where the viewer's uploads lie. Raises DataError for a visitor without a secret."""
        if viewer.host:
            return self.folder
        if viewer.id is None:
            raise DataError("The lab does not know whose file that is: reload the page, then upload it again.")
        return self.folder / viewer.id

    def owns(self, viewer: Viewer, source: str) -> bool:
        """Whether a source is an upload that ``viewer`` may use; the host may use all.

        What the host of a room uploaded is theirs on a lab of one user after the room too.
        """
        if self._access.owns_machine(viewer) and is_inside(source, self.folder) and self.owner(source) is None:
            return True
        folders = [self.folder] if viewer.host else [self.folder / each for each in viewer.ids]
        return any(is_inside(source, folder) for folder in folders)

    def owner(self, source: str) -> str | None:
        """Whose upload a source is; None where it is no visitor's."""
        if not is_inside(source, self.folder):
            return None
        folder = os.path.dirname(real_path(source))
        return None if folder == os.path.realpath(self.folder) else os.path.basename(folder)

    def require_present(self, source: str) -> None:
        """Raise DataError where a source is an upload that was removed."""
        if is_inside(source, self.folder) and not os.path.isfile(real_path(source)):
            raise DataError("That upload was removed, as uploads are after a time: upload the file again.")

    @staticmethod
    def display_name(source: str) -> str:
        """A source as the page shows it: an upload by the name it came with."""
        return upload_names.uploaded_as(source) or source


@contextmanager
def _removed_on_error(file: Path) -> Iterator[None]:
    """Half a file is none."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        raise


def real_path(path: str) -> str:
    """Where ``path`` leads, as ``sources`` reads it."""
    return os.path.realpath(os.path.expanduser(path))


def is_inside(path: str, folder: Path) -> bool:
    """Whether a path leads into a folder, once ``~``, links and ``..`` are followed."""
    return real_path(path).startswith(os.path.realpath(folder) + os.sep)
