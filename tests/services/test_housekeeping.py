"""Housekeeping survives faults: a failed removal is logged and tried again, and all others are still done."""

import errno
import os
import time
from pathlib import Path

import pytest
from labs import opened, smoke, until

from instruct_tune.config.viewer import HOST, Viewer
from instruct_tune.errors import BusyError, NotFoundError, StoreError
from instruct_tune.services import housekeeping

pytestmark = pytest.mark.usefixtures("tiny_cache")

LONG_AGO = time.time() - 400 * 3600
ANN = Viewer("ann", False)
FAULTS = [
    BusyError("Run x is running: stop it before deleting it."),
    NotFoundError.of("x"),
    StoreError("The history cannot be written."),
    PermissionError(errno.EACCES, "not allowed"),
    OSError(errno.EIO, "the disk"),
]


def old_private_run(lab):
    run = lab.store.create("old", smoke().to_dict(), ANN.id, ANN.id)
    lab.store.update(run.id, status="finished", ended=LONG_AGO)
    return run.id


def old_upload(lab, name):
    file = lab.uploads.folder / ANN.id / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[]")
    os.utime(file, (LONG_AGO, LONG_AGO))
    return file


def failing_once_for(monkeypatch, owner, method, first, error):
    """Makes the method raise ``error`` on its first call for ``first``; returns a list that collects that target."""
    real, failed = getattr(owner, method), []

    def work(self, *args, **kwargs):
        target = args[-1] if args else self
        if not failed and str(target) == str(first):
            failed.append(target)
            raise error
        return real(self, *args, **kwargs)

    monkeypatch.setattr(owner, method, work)
    return failed


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_a_private_run_that_cannot_be_deleted_keeps_nothing_else(lab, monkeypatch, caplog, error):
    stays, goes = old_private_run(lab), old_private_run(lab)
    file = old_upload(lab, "rows.json")
    failed = failing_once_for(monkeypatch, type(lab.training), "delete", stays, error)
    lab.housekeeping.remove_expired()
    assert failed
    assert lab.store.has(stays)
    assert not lab.store.has(goes)
    assert not file.exists()
    assert f"could not delete the private run {stays}" in caplog.text
    lab.housekeeping.remove_expired()
    assert not lab.store.has(stays)


def test_an_upload_that_cannot_be_removed_keeps_nothing_else(lab, monkeypatch, caplog):
    files = [old_upload(lab, name) for name in ("a.json", "b.json", "c.json")]
    failed = failing_once_for(monkeypatch, Path, "unlink", files[1], PermissionError(errno.EACCES, "not allowed"))
    lab.housekeeping.remove_expired()
    assert failed
    assert [file.exists() for file in files] == [False, True, False]
    assert "could not remove the upload b.json" in caplog.text
    lab.housekeeping.remove_expired()
    assert not files[1].exists()


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_the_bin_is_emptied_around_a_run_that_resists_and_its_thread_goes_on(lab, monkeypatch, caplog, error):
    monkeypatch.setattr(housekeeping, "TRASH_SECONDS", 0.12)
    lab.housekeeping.start()
    stays, goes = old_private_run(lab), old_private_run(lab)
    failed = failing_once_for(monkeypatch, type(lab.store), "erase_trashed", stays, error)
    for run_id in (stays, goes):
        lab.runs.trash(HOST, run_id)
    until(lambda: not any((lab.data_dir / "runs" / run_id).exists() for run_id in (stays, goes)), "no folder")
    until(lambda: not lab.store.trashed(), "the bin to be empty")
    assert failed
    assert f"could not delete run {stays} for good" in caplog.text


def test_the_hourly_thread_goes_on_after_a_fault(lab, monkeypatch, caplog):
    rounds = []

    def look():
        rounds.append(1)
        if len(rounds) == 1:
            raise StoreError("The history cannot be read.")

    monkeypatch.setattr(lab.housekeeping, "remove_expired", look)
    monkeypatch.setattr(housekeeping, "HOUR", 0)
    monkeypatch.setattr(lab._closing, "wait", lambda seconds: len(rounds) > 2)
    lab.housekeeping.start()
    lab.housekeeping.join(60)
    assert len(rounds) == 3
    assert "could not look for old uploads" in caplog.text


def test_a_run_in_the_bin_that_cannot_be_deleted_does_not_keep_the_lab_from_starting(tmp_path, monkeypatch):
    with opened(tmp_path / "data") as lab:
        run_id = old_private_run(lab)
        lab.runs.trash(HOST, run_id)
        store = type(lab.store)
    monkeypatch.setattr(housekeeping, "TRASH_SECONDS", 0)
    failed = failing_once_for(monkeypatch, store, "erase_trashed", run_id, StoreError("The disk."))
    with opened(tmp_path / "data") as lab:
        assert failed
        assert [run.id for run in lab.store.trashed()] == [run_id]
    with opened(tmp_path / "data") as lab:
        assert lab.store.trashed() == []
