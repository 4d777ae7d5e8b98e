"""A disk under a running lab that is full, read-only, gone or without locks: one clear sentence, and no crash."""

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from labs import PATIENCE, finished, opened, smoke

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DiskFullError, Stopped, StoreError
from instruct_tune.lab import Lab
from instruct_tune.models import lora
from instruct_tune.services.training_job import TrainingJob
from instruct_tune.store import disk_reserve
from instruct_tune.store.history import History
from instruct_tune.store.lock import DataLock
from instruct_tune.store.run_store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")
SHORT = smoke(train={"probes": 0, "eval_strategy": "no", "save_minutes": None})


@contextmanager
def mounted(folder, *how):
    """``mount HOW FOLDER`` while the block runs; skips the test where mounting is not allowed."""
    done = subprocess.run(["mount", *how, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Fill the disk to its last byte."""
    with open(folder / "filler", "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            while _written(file, b"\0" * size):
                pass


def _written(file, content):
    try:
        return file.write(content)
    except OSError:
        return 0


def failed(lab, run_id, kind):
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind) == ("failed", kind)
    assert str(lab.data_dir) in run.message
    return run


def test_a_disk_that_is_full_fails_the_run_and_when_there_is_room_it_goes_on(tmp_path, pace):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with mounted(data_dir, "-t", "tmpfs", "-o", "size=12m", "tmpfs"), opened(data_dir) as lab:
        upload = tmp_path / "rows.json"
        upload.write_text('[{"instruction": "a", "output": "b"}]' + " " * 100_000)
        pace.at[2] = lambda runner: fill(data_dir)
        run_id = lab.training.start(HOST, SHORT)
        assert "is full" in failed(lab, run_id, "disk").message
        fill(data_dir)
        with pytest.raises(DiskFullError):
            lab.uploads.keep(HOST, upload)
        assert [path for path in lab.uploads.folder.rglob("*") if path.is_file()] == []
        assert lab.runs.details(HOST, run_id)["status"] == "failed", "the lab answers"
        (data_dir / "filler").unlink()
        lab.training.resume(HOST, run_id)
        assert lab.training.wait(run_id, PATIENCE).status == "finished"
        assert lab.uploads.keep(HOST, upload).stat().st_size > 100_000


def test_a_file_that_may_not_grow_is_a_full_disk_too(tmp_path, monkeypatch):
    """The kernel's limit on the size of a file simulates a full disk where mounting is not allowed."""
    save = lora.save

    def save_little(*args):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            save(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with opened(tmp_path / "data") as lab:
        with monkeypatch.context() as patch:
            patch.setattr(lora, "save", save_little)
            run_id = lab.training.start(HOST, SHORT)
            failed(lab, run_id, "disk")
        lab.training.resume(HOST, run_id)
        assert lab.training.wait(run_id, PATIENCE).status == "finished"


def test_a_data_folder_that_becomes_read_only_fails_the_run_and_the_lab_lives_on(tmp_path, pace):
    # Only the runs' folder: a mount with a file open for writing, as the history is, cannot become read-only.
    runs = tmp_path / "data" / "runs"
    runs.mkdir(parents=True)
    with mounted(runs, "--bind", str(runs)), opened(tmp_path / "data") as lab:

        def remount(how):
            subprocess.run(["mount", "-o", f"remount,bind,{how}", str(runs)], check=True)

        pace.at[2] = lambda runner: remount("ro")
        run_id = lab.training.start(HOST, SHORT)
        assert "Read-only file system" in failed(lab, run_id, "store").message
        with pytest.raises(StoreError, match="Read-only"):
            lab.training.start(HOST, SHORT)
        remount("rw")
        lab.training.resume(HOST, run_id)
        assert lab.training.wait(run_id, PATIENCE).status == "finished"


def test_a_data_folder_that_is_read_only_from_the_start_is_refused_in_a_sentence(tmp_path):
    with mounted(tmp_path, "--bind", str(tmp_path)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(tmp_path)], check=True)
        for folder in (tmp_path, tmp_path / "below"):
            with pytest.raises(StoreError, match="Read-only"):
                Lab(folder)


def test_a_data_folder_that_is_moved_away_fails_the_run_and_back_again_it_goes_on(tmp_path, pace):
    with opened(tmp_path / "data") as lab:
        pace.at[2] = lambda runner: os.rename(tmp_path / "data", tmp_path / "away")
        run_id = lab.training.start(HOST, SHORT)
        assert "is gone" in failed(lab, run_id, "store").message
        assert not (tmp_path / "data").exists(), "nothing is written where it was"
        with pytest.raises(StoreError, match="is gone"):
            lab.training.start(HOST, SHORT)
        os.rename(tmp_path / "away", tmp_path / "data")
        lab.training.resume(HOST, run_id)
        assert lab.training.wait(run_id, PATIENCE).status == "finished"


def test_a_data_folder_that_is_deleted_is_reported_and_a_new_start_begins_anew(tmp_path, pace):
    with opened(tmp_path / "data") as lab:
        pace.at[2] = lambda runner: shutil.rmtree(tmp_path / "data")
        failed(lab, lab.training.start(HOST, SHORT), "store")
    with opened(tmp_path / "data") as lab:
        assert lab.runs.summaries(HOST) == []
        finished(lab, SHORT)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_in_a_sentence(tmp_path, monkeypatch, code):
    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(StoreError, match=r"without locks .* give a --data-dir on a disk of this machine"):
            DataLock(tmp_path)
    DataLock(tmp_path).release()


def test_another_folder_in_its_place_is_not_taken_for_it(tmp_path):
    with closing(RunStore(tmp_path / "data")) as store:
        store.require_folder()
        os.rename(tmp_path / "data", tmp_path / "away")
        RunStore(tmp_path / "data").close()
        with pytest.raises(StoreError, match="another one now"):
            store.require_folder()


FORKING = """
import os, sys, time
from pathlib import Path
from instruct_tune.store import disk_reserve
from instruct_tune.store.history import History
from instruct_tune.store.lock import DataLock

lock = DataLock(Path(sys.argv[1]))
worker = os.fork()
if not worker:
    os.close(1)
    time.sleep(600)
print(worker)
"""


def test_a_fork_that_outlives_the_lab_does_not_keep_the_folder_in_use(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    worker = int(done.stdout)
    try:
        os.kill(worker, 0)
        DataLock(tmp_path).release()
    finally:
        os.kill(worker, signal.SIGKILL)


@pytest.fixture
def full(monkeypatch):
    """While set, the disk of the history is full, but for what the reserved space holds."""
    full = threading.Event()
    writing = History.writing

    @contextmanager
    def write_or_fail(history):
        if full.is_set():
            raise DiskFullError("The disk is full.")
        with writing(history) as db:
            yield db

    monkeypatch.setattr(History, "writing", write_or_fail)
    monkeypatch.setattr(disk_reserve, "release", lambda data_dir: full.clear())
    return full


def test_a_stop_that_cannot_be_written_down_ends_the_run_all_the_same(tmp_path, full, monkeypatch):
    def stopped(job, resume):
        full.set()
        raise Stopped

    monkeypatch.setattr(TrainingJob, "_execute", stopped)
    with opened(tmp_path / "data") as lab:
        run = lab.training.wait(lab.training.start(HOST, SHORT), PATIENCE)
        assert (run.status, run.error_kind) == ("failed", "disk")
        lab.training.delete(HOST, run.id)


def test_a_start_that_cannot_be_written_down_leaves_no_run_behind(tmp_path, full):
    with opened(tmp_path / "data") as lab:
        create = lab.store.create
        lab.store.create = lambda *given: (create(*given), full.set())[0]
        with pytest.raises(DiskFullError):
            lab.training.start(HOST, SHORT)
        assert lab.runs.summaries(HOST) == []
        lab.store.create = create
        assert lab.training.wait(lab.training.start(HOST, SHORT), PATIENCE).status == "finished"


def test_a_resume_that_cannot_be_written_down_leaves_the_run_as_it_was(tmp_path, pace, full, monkeypatch):
    with opened(tmp_path / "data") as lab:
        pace.at[2] = lambda runner: lab.training.stop(HOST, runner.run.id)
        run_id = lab.training.start(HOST, SHORT)
        before = lab.training.wait(run_id, PATIENCE)
        assert before.status == "stopped"
        get = lab.store.get

        def get_after_it_waits(run_id):
            """Full from the moment at which the run counts as waiting."""
            run = get(run_id)
            if run.status == "queued":
                full.set()
                raise DiskFullError("The disk is full.")
            return run

        with monkeypatch.context() as patched:
            patched.setattr(lab.store, "get", get_after_it_waits)
            with pytest.raises(DiskFullError):
                lab.training.resume(HOST, run_id)
        after = lab.store.get(run_id)
        assert (after.status, after.message, after.ended) == (before.status, before.message, before.ended)
        assert lab.training.wait(lab.training.resume(HOST, run_id), PATIENCE).status == "finished"
