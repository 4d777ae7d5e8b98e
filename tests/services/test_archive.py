"""Ended runs are copied to ``LAB_ARCHIVE_DIR``, and a lab on an empty disk takes them back."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
import zipfile

import pytest
from labs import PATIENCE, opened, smoke, trained

from instruct_tune.config.viewer import HOST
from instruct_tune.store import archive as module
from instruct_tune.store import snapshot

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The data folder and the archive, in which nothing can be renamed or linked."""
    data, bucket = tmp_path / "data", tmp_path / "bucket"
    bucket.mkdir()
    monkeypatch.setenv("LAB_ARCHIVE_DIR", str(bucket))
    for name in ("rename", "replace", "link", "symlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), str(bucket)))
    return data, bucket


def refusing(call, folder: str):
    def checked(source, target, *args, **kwargs):
        if folder in str(source) or folder in str(target):
            raise OSError(errno.EOPNOTSUPP, "a bucket cannot do that")
        return call(source, target, *args, **kwargs)

    return checked


def history(lab, run_id: str) -> tuple:
    run = lab.store.get(run_id)
    return run, lab.store.metrics(run_id), lab.store.samples(run_id), lab.store.evaluations(run_id)


def copies(bucket) -> list[str]:
    return sorted(path.name for path in bucket.iterdir())


@pytest.mark.slow
def test_a_lab_on_an_empty_disk_has_its_runs_again_and_their_adapters(places):
    data, bucket = places
    with opened(data) as lab:
        run_id = trained(lab, smoke(), "kept")
        for _ in lab.evaluations.stream(HOST, run_id, 2):
            pass
        lab.housekeeping.update_archive()
        before = history(lab, run_id)
        (copied,) = copies(bucket)
    shutil.rmtree(data)
    with opened(data) as lab:
        assert history(lab, run_id) == before
        assert "1 run was found again" in lab.notice
        # It answers, so its adapter is whole.
        assert lab.inference.generate(HOST, run_id, [{"instruction": "Say it"}])
        assert lab.evaluations.recorded_row(HOST, run_id, 0)["tuned"] is not None
        lab.housekeeping.update_archive()
        # The status log says where the run comes from, so its copy is a new one, the only one.
        (again,) = copies(bucket)
        assert again.split(".")[0] == copied.split(".")[0] == run_id


def test_only_what_changed_is_copied_and_what_is_deleted_goes(places):
    data, bucket = places
    with opened(data) as lab:
        first, second = (trained(lab, smoke(), name) for name in ("one", "two"))
        lab.housekeeping.update_archive()
        before = {path.name: path.stat().st_mtime_ns for path in bucket.iterdir()}
        assert {name.split(".")[0] for name in before} == {first, second}
        lab.runs.rename(HOST, first, "another name")
        lab.housekeeping.update_archive()
        after = {path.name: path.stat().st_mtime_ns for path in bucket.iterdir()}
        assert len(before.keys() & after.keys()) == 1
        assert all(after[name] == before[name] for name in before.keys() & after.keys())
        # In the trash it is gone from the archive, and there again once it is restored.
        lab.runs.trash(HOST, second)
        lab.housekeeping.update_archive()
        assert [name.split(".")[0] for name in copies(bucket)] == [first]
        lab.runs.restore(HOST, second)
        lab.housekeeping.update_archive()
        assert sorted(name.split(".")[0] for name in copies(bucket)) == sorted([first, second])


def test_a_copy_that_was_cut_off_is_not_used_and_the_one_before_is(places):
    data, bucket = places
    with opened(data) as lab:
        run_id = trained(lab, smoke(), "first name")
        lab.housekeeping.update_archive()
        (copied,) = bucket.iterdir()
    whole = copied.read_bytes()
    (bucket / f"{run_id}.999999.zip").write_bytes(whole[: len(whole) // 2])
    (bucket / "20200101-000000-abcd.1.zip").write_bytes(b"no zip at all")
    (bucket / "notes.txt").write_text("the host's own")
    shutil.rmtree(data)
    with opened(data) as lab:
        assert lab.store.get(run_id).name == "first name"
        assert "1 of 2 runs in the archive" in lab.notice
        lab.housekeeping.update_archive()
    # What the lab did not make, or could not read, stays.
    assert {"notes.txt", "20200101-000000-abcd.1.zip"} < set(copies(bucket))


@pytest.mark.slow
def test_no_damage_of_a_copy_keeps_the_lab_from_starting(tmp_path):
    copied = tmp_path / "run-1.1.zip"
    with zipfile.ZipFile(copied, "w") as zipped:
        zipped.writestr("adapter/weights", "hello" * 10)
        zipped.writestr("run.jsonl", "no history")
    whole = copied.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    # Every bit of the first file's two headers: versions, passwords, methods, sizes, offsets.
    for place in (*range(directory, directory + 46), *range(30)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            copied.write_bytes(bytes(damaged))
            sentence = module.RunArchive(tmp_path, tmp_path / "data").take_back()
            assert "1 of 1 runs" in sentence, "it holds no history"


def test_a_full_bucket_keeps_the_older_copy_and_is_tried_again(places, monkeypatch):
    data, bucket = places
    with opened(data) as lab:
        first = trained(lab, smoke(), "one")
        lab.housekeeping.update_archive()
        (copied,) = copies(bucket)
        lab.runs.rename(HOST, first, "two")
        with monkeypatch.context() as full:
            full.setattr(module.shutil, "copyfileobj", refuses_to_write)
            lab.housekeeping.update_archive()
        assert copies(bucket) == [copied]
        lab.housekeeping.update_archive()
        (renewed,) = copies(bucket)
        assert renewed != copied


def refuses_to_write(source, target, *args):
    target.write(source.read(100))
    raise OSError(errno.ENOSPC, "No space left on device")


def test_without_the_bucket_the_lab_starts_and_says_so(places):
    data, bucket = places
    bucket.rmdir()
    bucket.write_text("a file is in its place")
    with opened(data) as lab:
        assert "cannot be read" in lab.notice
        run_id = trained(lab, smoke(), "kept here")
        lab.housekeeping.update_archive()
        assert lab.store.get(run_id).status == "finished"


def test_too_little_room_leaves_the_copy_where_it_is(places, monkeypatch):
    data, bucket = places
    with opened(data) as lab:
        trained(lab, smoke(), "large")
        lab.housekeeping.update_archive()
    shutil.rmtree(data)
    usage = shutil.disk_usage(bucket)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with opened(data) as lab:
        assert "could not be taken back" in lab.notice
        assert lab.store.ids() == set()
    assert len(copies(bucket)) == 1


def test_a_slow_bucket_does_not_keep_the_lab_from_closing(places, monkeypatch):
    data, _ = places
    copying, let_go = threading.Event(), threading.Event()
    monkeypatch.setattr(module.RunArchive, "update", lambda archive, store: copying.set() or let_go.wait(PATIENCE))
    with opened(data) as lab:
        lab.housekeeping.start()
        assert copying.wait(PATIENCE)
        began = time.monotonic()
        lab.close(timeout=0.5)
        assert time.monotonic() - began < PATIENCE / 4
    let_go.set()


def test_a_run_that_is_deleted_by_a_later_process_does_not_come_back(places):
    data, bucket = places
    with opened(data) as lab:
        gone, stays = trained(lab, smoke(), "gone"), trained(lab, smoke(), "stays")
        lab.housekeeping.update_archive()
        assert len(copies(bucket)) == 2
    with opened(data) as lab:
        lab.training.delete(HOST, gone)
    assert [name.partition(".")[0] for name in copies(bucket)] == [stays]
    with opened(data) as lab:
        assert [run["id"] for run in lab.runs.summaries(HOST)] == [stays]
        lab.housekeeping.update_archive()
    assert len(copies(bucket)) == 1


def test_a_damaged_folder_does_not_take_the_copy_with_it(places):
    data, bucket = places
    with opened(data) as lab:
        run_id = trained(lab, smoke(), "kept")
        lab.housekeeping.update_archive()
    shutil.rmtree(data)
    (data / "runs" / run_id).mkdir(parents=True)
    with opened(data) as lab:
        lab.housekeeping.update_archive()
    assert len(copies(bucket)) == 1


def test_what_changes_after_a_run_has_ended_is_in_its_copy(places):
    """A change of the provenance alone is one, such as that the host keeps a visitor's run."""
    with opened(places[0]) as lab:
        run = lab.store.create("a visitor's", smoke().to_dict())
        lab.store.update(run.id, status="finished", ended=1.0)
        lab.store.update(run.id, name="kept")
        lab.store.update(run.id, provenance={"expires": False})
        assert "expires" in (lab.store.folder(run.id) / snapshot.FILE).read_text()
