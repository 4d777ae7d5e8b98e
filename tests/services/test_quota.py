"""A visitor's disk quota, and the removal of visitors' runs after a time."""

import json
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from labs import PATIENCE, opened, smoke, until
from safetensors.numpy import save
from test_housekeeping import failing_once_for
from test_import_run import MATRICES, PLAIN

from instruct_tune.config.viewer import ANONYMOUS, HOST, Viewer, known_by
from instruct_tune.errors import DataError, StoreError
from instruct_tune.runs.examples import put_recorded
from instruct_tune.services.evaluations import EVALUATION
from instruct_tune.services.job_queue import Job

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")

ANN, BOB = known_by("ann's own secret"), known_by("bob's own secret")
HOST_PAGE = Viewer(known_by("the host's browser").id, host=True)
KB = 1000


@pytest.fixture
def shared_lab(tmp_path, monkeypatch):
    """A multi-user lab where a visitor may keep one megabyte."""
    monkeypatch.setenv("LAB_ADMIN_TOKEN", "the host's token")
    monkeypatch.setenv("LAB_VISITOR_MB", "1")
    with opened(tmp_path / "shared" / "data") as lab:
        yield lab


def rows_file(lab, size):
    file = lab.data_dir.parent / "mine.json"
    row = {"instruction": "Say it", "input": "", "output": "x" * 100}
    file.write_text(json.dumps([row] * 20).ljust(size))
    return file


def upload(lab, viewer, size):
    return lab.uploads.keep(viewer, rows_file(lab, size))


def run_of(lab, viewer, size=0, name="big", ended=0.0, **update):
    """A stopped run as ``start_run`` creates it, with ``size`` bytes in its folder."""
    run_id = lab.store.create(name, smoke().to_dict(), started_by=viewer.id).id
    provenance = {"expires": True} if lab.access.multi_user and not viewer.host else {}
    lab.store.update(run_id, status="stopped", ended=ended or time.time(), provenance=provenance, **update)
    (lab.store.folder(run_id) / "adapter").mkdir()
    (lab.store.folder(run_id) / "adapter" / "weights").write_bytes(bytes(size))
    return run_id


def uploads_of(lab, viewer):
    return (
        len(list((lab.uploads.folder / viewer.id).glob("*.json"))) if (lab.uploads.folder / viewer.id).exists() else 0
    )


# The quota


def test_uploads_beyond_the_quota_are_refused_and_leave_nothing(shared_lab):
    upload(shared_lab, ANN, 600 * KB)
    with pytest.raises(DataError) as refused:
        upload(shared_lab, ANN, 600 * KB)
    message = str(refused.value)
    for words in ("0.6 MB of uploads", "0.0 MB of runs", "add 0.6 MB", "1 MB (LAB_VISITOR_MB)"):
        assert words in message
    assert message.count(". ") == 0
    assert "after 168 hours" in message
    assert uploads_of(shared_lab, ANN) == 1
    upload(shared_lab, BOB, 600 * KB)
    upload(shared_lab, ANN, 300 * KB)


def test_the_host_has_no_quota(shared_lab):
    for viewer in (HOST, HOST_PAGE):
        for _ in range(2):
            upload(shared_lab, viewer, 900 * KB)
    run_of(shared_lab, HOST_PAGE, 2000 * KB)
    assert shared_lab.training.stop(HOST_PAGE, shared_lab.training.start(HOST_PAGE, smoke()))


def test_a_lab_of_ones_own_has_no_quota(lab, monkeypatch):
    monkeypatch.setenv("LAB_VISITOR_MB", "1")
    for _ in range(2):
        upload(lab, ANN, 900 * KB)
    run_id = lab.training.start(ANN, smoke())
    assert lab.training.stop(ANN, run_id)
    assert "expires" not in lab.store.get(run_id).provenance


def test_uploads_runs_and_imports_count_together_for_all_that_is_added(shared_lab, tmp_path):
    upload(shared_lab, ANN, 300 * KB)
    shared_lab.store.update(run_of(shared_lab, ANN, 100 * KB), name="small")
    run_id = run_of(shared_lab, ANN, 700 * KB, name="large")
    file = tmp_path / "run.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("adapter_config.json", json.dumps(PLAIN))
        archive.writestr("adapter_model.safetensors", save(MATRICES))
    before = {run.id for run in shared_lab.store.all()}
    adding = [
        lambda: upload(shared_lab, ANN, 10 * KB),
        lambda: shared_lab.training.start(ANN, smoke()),
        lambda: shared_lab.training.resume(ANN, run_id),
        lambda: shared_lab.transfers.import_run(ANN, file),
    ]
    for add in adding:
        with pytest.raises(DataError, match=r"0\.3 MB of uploads and 0\.8 MB of runs.*the largest is large, 0\.7 MB"):
            add()
    assert {run.id for run in shared_lab.store.all()} == before
    assert {folder.name for folder in (shared_lab.data_dir / "runs").iterdir()} == before
    assert shared_lab.store.get(run_id).status == "stopped"
    shared_lab.training.delete(ANN, run_id)
    assert shared_lab.transfers.import_run(ANN, file)
    assert upload(shared_lab, ANN, 10 * KB)


@pytest.mark.parametrize("what", ["weights", "metrics"])
def test_an_import_counts_as_it_is_unpacked(shared_lab, tmp_path, what):
    matrices = {f"base_model.model.q_proj.lora_{which}.weight": np.zeros((2, 200_000), np.float32) for which in "A"}
    matrices |= {"base_model.model.q_proj.lora_B.weight": np.zeros((2, 2), np.float32)}
    metric = {"kind": "probe", "step": 1, "epoch": 1.0, "time": 1.0, "probe_loss": 1.0}
    file = tmp_path / "run.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("adapter_config.json", json.dumps(PLAIN))
        archive.writestr("adapter_model.safetensors", save(matrices if what == "weights" else MATRICES))
        if what == "metrics":
            archive.writestr("metrics.jsonl", "".join(json.dumps({**metric, "step": n}) + "\n" for n in range(20_000)))
    assert file.stat().st_size < 200 * KB
    with pytest.raises(DataError, match="LAB_VISITOR_MB"):
        shared_lab.transfers.import_run(ANN, file)
    assert shared_lab.runs.summaries(HOST) == []
    assert list((shared_lab.data_dir / "runs").iterdir()) == []
    assert shared_lab.transfers.import_run(HOST, file)


def test_a_run_that_goes_on_from_another_counts_its_copy(shared_lab):
    parent = run_of(shared_lab, BOB, 600 * KB)
    run_of(shared_lab, ANN, 500 * KB)
    with pytest.raises(DataError, match=r"0\.5 MB of runs on this lab, and this would add 0\.6 MB"):
        shared_lab.training.start(ANN, {}, parent=parent)


def test_the_bin_counts_and_is_emptied_where_its_room_is_needed(shared_lab):
    small, large = run_of(shared_lab, ANN, 300 * KB), run_of(shared_lab, ANN, 400 * KB)
    other = run_of(shared_lab, BOB, 400 * KB)
    for run_id, viewer in ((small, ANN), (large, ANN), (other, BOB)):
        shared_lab.runs.trash(viewer, run_id)
    upload(shared_lab, ANN, 300 * KB)
    assert {run.id for run in shared_lab.store.trashed()} == {small, large, other}, "there is room enough"
    with pytest.raises(DataError):
        upload(shared_lab, ANN, 900 * KB)
    assert {run.id for run in shared_lab.store.trashed()} == {small, large, other}, "it would not have helped"
    upload(shared_lab, ANN, 600 * KB)
    assert [run.id for run in shared_lab.store.trashed()] == [other]


def test_of_uploads_at_once_no_more_are_taken_than_fit(shared_lab):
    file = rows_file(shared_lab, 400 * KB)

    def keep(_):
        try:
            return shared_lab.uploads.keep(ANN, file)
        except DataError:
            return None

    with ThreadPoolExecutor(8) as threads:
        kept = list(filter(None, threads.map(keep, range(8))))
    assert len(kept) == uploads_of(shared_lab, ANN) == 2


def test_scripts_without_a_secret_share_a_quota(shared_lab):
    run_of(shared_lab, HOST, 2000 * KB, name="the host's, from the command line")
    run_of(shared_lab, ANONYMOUS, 1200 * KB)
    with pytest.raises(DataError, match=r"Visitors without a secret together keep 0\.0 MB .* and 1\.1 MB of runs"):
        shared_lab.training.start(ANONYMOUS, smoke())
    shared_lab.training.stop(ANN, shared_lab.training.start(ANN, smoke()))


@pytest.mark.parametrize("text", ["0", "-1", "much", "1.5"])
def test_a_quota_that_is_no_number_is_named(shared_lab, monkeypatch, text):
    monkeypatch.setenv("LAB_VISITOR_MB", text)
    with pytest.raises(Exception, match="LAB_VISITOR_MB must be a whole number"):
        upload(shared_lab, ANN, KB)


# Removal of visitors' runs


def long_ago(lab):
    return time.time() - 3600 * (lab.housekeeping.keep_hours + 1)


def names(lab):
    return {run.name for run in lab.store.all()}


def test_runs_that_visitors_started_on_public_data_are_removed_after_a_time(shared_lab):
    started = {}
    for viewer, name in (
        (ANN, "ann's"),
        (ANONYMOUS, "a script's"),
        (HOST_PAGE, "the host's page"),
        (HOST, "the host's"),
    ):
        run_id = shared_lab.training.start(viewer, smoke(), name)
        shared_lab.training.stop(HOST, run_id)
        shared_lab.training.wait(run_id, PATIENCE)
        shared_lab.store.update(run_id, ended=long_ago(shared_lab))
        started[name] = run_id
    run_of(shared_lab, ANN, name="young")
    recorded = {shared_lab.store.get(run_id).name for run_id in put_recorded(shared_lab.store)}
    assert recorded
    shared_lab.housekeeping.remove_expired()
    assert names(shared_lab) == {"the host's page", "the host's", "young", *recorded}
    assert not (shared_lab.data_dir / "runs" / started["ann's"]).exists()


def test_a_run_at_work_stays(shared_lab):
    run_id = run_of(shared_lab, ANN, ended=long_ago(shared_lab))
    shared_lab.store.update(run_id, status="running")
    shared_lab.housekeeping.remove_expired()
    assert shared_lab.store.has(run_id)
    shared_lab.store.update(run_id, status="stopped")


def test_a_run_that_is_being_evaluated_stays_until_that_is_over(shared_lab):
    run_id = run_of(shared_lab, ANN, ended=long_ago(shared_lab))
    done = threading.Event()
    evaluation = shared_lab.queue.enqueue(Job("an evaluation", lambda: done.wait(PATIENCE), (EVALUATION, run_id)))
    shared_lab.housekeeping.remove_expired()
    assert shared_lab.store.has(run_id)
    done.set()
    evaluation.result(PATIENCE)
    until(lambda: not shared_lab.queue.jobs, "the queue to be empty")
    shared_lab.housekeeping.remove_expired()
    assert not shared_lab.store.has(run_id)


TAKES = {
    "rename": lambda lab, run_id, viewer: lab.runs.rename(viewer, run_id, "kept"),
    "tag": lambda lab, run_id, viewer: lab.runs.annotate(viewer, run_id, "good", ""),
    "note": lambda lab, run_id, viewer: lab.runs.annotate(viewer, run_id, "", "see this"),
}


@pytest.mark.parametrize("how", TAKES)
def test_what_the_host_has_named_tagged_or_annotated_stays_and_what_its_visitor_has_does_not(shared_lab, how):
    by_host, by_visitor = (run_of(shared_lab, ANN, ended=long_ago(shared_lab)) for _ in range(2))
    TAKES[how](shared_lab, by_host, HOST_PAGE)
    TAKES[how](shared_lab, by_visitor, ANN)
    shared_lab.housekeeping.remove_expired()
    assert [run.id for run in shared_lab.store.all()] == [by_host]


def test_a_shared_run_of_an_upload_stays_where_the_host_has_shared_it(shared_lab):
    source = str(upload(shared_lab, ANN, 10 * KB))
    config = json.dumps(smoke(data={"source": source}).to_dict())
    by_host, by_visitor = (
        run_of(shared_lab, ANN, ended=long_ago(shared_lab), owner=ANN.id, config=config) for _ in range(2)
    )
    shared_lab.runs.share(HOST, by_host, True)
    shared_lab.runs.share(ANN, by_visitor, True)
    shared_lab.housekeeping.remove_expired()
    assert [run.id for run in shared_lab.store.all()] == [by_host]


def test_a_run_that_cannot_be_deleted_keeps_no_other_one(shared_lab, monkeypatch, caplog):
    stays, goes = (run_of(shared_lab, ANN, ended=long_ago(shared_lab)) for _ in range(2))
    failed = failing_once_for(monkeypatch, type(shared_lab.training), "delete", stays, StoreError("The disk."))
    shared_lab.housekeeping.remove_expired()
    assert failed
    assert [run.id for run in shared_lab.store.all()] == [stays]
    assert not shared_lab.store.has(goes)
    assert f"could not delete the visitor's run {stays}" in caplog.text
    shared_lab.housekeeping.remove_expired()
    assert not shared_lab.store.has(stays)


def test_on_a_lab_of_ones_own_no_run_on_public_data_is_removed(lab):
    run_id = run_of(lab, ANN, ended=long_ago(lab))
    lab.store.update(run_id, provenance={"expires": True})
    lab.housekeeping.remove_expired()
    assert lab.store.has(run_id)


@pytest.mark.slow
def test_a_run_outlives_the_one_that_it_goes_on_from(shared_lab):
    parent = shared_lab.training.start(ANN, smoke(), "parent")
    assert shared_lab.training.wait(parent, PATIENCE).status == "finished"
    child = shared_lab.training.start(HOST, {}, "child", parent)
    assert shared_lab.training.wait(child, PATIENCE).status == "finished"
    assert "expires" not in shared_lab.store.get(child).provenance
    shared_lab.store.update(parent, ended=long_ago(shared_lab))
    shared_lab.housekeeping.remove_expired()
    assert names(shared_lab) == {"child"}
    assert shared_lab.inference.generate(HOST, child, [{"instruction": "Hi"}], generation={"max_new_tokens": 2})
