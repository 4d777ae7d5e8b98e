"""Copies of ended runs in a folder that outlives this machine's disk, such as a mounted bucket, and the way back.

That folder needs neither locks nor renames: a copy is one zip file, written once from its beginning to its end. A zip
names its content at its end, so a copy that was cut off is recognised, and the one before it is used.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path

from ..util.zip_faults import ZIP_FAULTS
from . import snapshot
from .run import Run
from .run_store import RunStore

log = logging.getLogger(__name__)
_COPY = re.compile(r"([\w-]+)\.(\d+)\.zip")
"""``RUN.REVISION.zip``."""
_PARTIAL = "archive.partial"
_OLDER = -1
"""Stands for the revision of a copy that an earlier process made: it may be older than the run."""


class RunArchive:
    """The copies of the runs of one data folder. For the process that holds its lock."""

    def __init__(self, folder: Path, data_dir: Path):
        self._folder, self._data_dir = folder, data_dir
        self._copied: dict[str, int] = {}
        """The revision of each run that has a copy, of the runs that this process has known."""

    def take_back(self) -> str | None:
        """Unpack the runs that are not in the data folder; call it before the history is opened, which finds them.

        Returns a sentence on what could not be taken back; None where all was.
        """
        try:
            copies = self._copies()
        except OSError as error:
            return (
                f"The archive {self._folder} cannot be read ({error.strerror or error}): no run was taken back from it."
            )
        failed = [run_id for run_id, revisions in copies.items() if not self._unpack_newest(run_id, revisions)]
        if not failed:
            return None
        return (
            f"{len(failed)} of {len(copies)} runs in the archive {self._folder} could not be taken back: see the log."
        )

    def update(self, store: RunStore) -> None:
        """Copy the runs that have changed since their copy, and remove the copies of runs that were deleted.

        Raises OSError where a run cannot be copied, as when the folder is full or gone, after all others were tried.
        What was copied before stays.
        """
        self.remove_deleted(store)
        revisions, runs, copies = store.revisions(), store.all(), self._copies()
        faults = []
        for run in runs:
            revision = revisions.get(run.id)
            if revision is None or not _is_sealed(run) or self._copied.get(run.id) == revision:
                continue
            try:
                self._renew(store, run.id, revision, copies.get(run.id, []))
            except OSError as error:
                faults.append(error)
        if faults:
            raise faults[0]

    def remove_deleted(self, store: RunStore) -> None:
        """Remove the copies of the runs that were deleted. Raises OSError where the folder is gone."""
        deleted = self._copied.keys() - {run.id for run in store.all()}
        copies = self._copies() if deleted else {}
        for run_id in deleted:
            self._remove(run_id, copies.get(run_id, []))
            del self._copied[run_id]

    def _renew(self, store: RunStore, run_id: str, revision: int, copies: list[int]) -> None:
        """Make the copy of a revision, if it is not among ``copies``, and remove the older ones."""
        if revision in copies or self._copy(store, run_id, revision):
            self._remove(run_id, [old for old in copies if old != revision])
            self._copied[run_id] = revision

    def _copies(self) -> dict[str, list[int]]:
        """The revisions of each run's copies, newest first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        copies: defaultdict[str, list[int]] = defaultdict(list)
        for path in self._folder.iterdir():
            if name := _COPY.fullmatch(path.name):
                copies[name[1]].append(int(name[2]))
        return {run_id: sorted(revisions, reverse=True) for run_id, revisions in copies.items()}

    def _path(self, run_id: str, revision: int) -> Path:
        return self._folder / f"{run_id}.{revision}.zip"

    def _remove(self, run_id: str, revisions: list[int]) -> None:
        for revision in revisions:
            self._path(run_id, revision).unlink(missing_ok=True)

    def _copy(self, store: RunStore, run_id: str, revision: int) -> bool:
        """Copy a run's folder; False where it has changed meanwhile."""
        folder, path = self._data_dir / "runs" / run_id, self._path(run_id, revision)
        if snapshot.revision(folder) != revision:
            return False
        # Packed on this machine's disk: writing a zip seeks, which a bucket may not allow.
        with tempfile.TemporaryFile(dir=self._data_dir) as packed:
            # Weights hardly shrink.
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as zipped:
                for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                    zipped.write(file, file.relative_to(folder))
            if store.revisions().get(run_id) != revision:
                return False
            size = packed.tell()
            packed.seek(0)
            try:
                with path.open("wb") as out:
                    shutil.copyfileobj(packed, out)
                if path.stat().st_size != size:
                    raise OSError(f"the copy of run {run_id} has {path.stat().st_size:,} of {size:,} bytes")
            except OSError:
                path.unlink(missing_ok=True)
                raise
        return True

    def _unpack_newest(self, run_id: str, revisions: list[int]) -> bool:
        """Unpack the newest whole copy, if the run's folder is not there."""
        final = self._data_dir / "runs" / run_id
        if final.exists():
            # So that its copy goes with it. A damaged folder may be all that is left beside the copy.
            if snapshot.read(final) is not None:
                self._copied.setdefault(run_id, _OLDER)
            return True
        for revision in revisions:
            try:
                self._unpack(self._path(run_id, revision), final)
            except ZIP_FAULTS as error:
                log.warning("The copy %s in the archive cannot be used: %s", self._path(run_id, revision).name, error)
                continue
            self._copied[run_id] = revision
            return True
        return False

    def _unpack(self, path: Path, final: Path) -> None:
        beside = self._data_dir / _PARTIAL / final.name
        shutil.rmtree(beside.parent, ignore_errors=True)
        try:
            with zipfile.ZipFile(path) as zipped:
                needed = sum(member.file_size for member in zipped.infolist())
                self._data_dir.mkdir(parents=True, exist_ok=True)
                if needed > (free := shutil.disk_usage(self._data_dir).free):
                    raise OSError(f"it needs {needed:,} bytes, and {free:,} are free")
                # It checks each file's CRC, and keeps every name inside the folder.
                zipped.extractall(beside)
            if snapshot.read(beside) is None:
                raise ValueError("it holds no history of that run")
            final.parent.mkdir(parents=True, exist_ok=True)
            beside.rename(final)
        finally:
            shutil.rmtree(beside.parent, ignore_errors=True)


def _is_sealed(run: Run) -> bool:
    """Whether nothing writes to the run; runs that come with the project need no copy."""
    return not run.live and "recorded" not in run.provenance
