"""Deleting runs, and the bin they wait in."""

import time

import pytest
from labs import PATIENCE, TWELVE_STEPS, curve, finished, opened, undisturbed

from instruct_tune.errors import BusyError, NotFoundError

pytestmark = pytest.mark.usefixtures("one_thread", "quicker", "tiny_cache")


def test_a_deleted_run_is_gone(lab, tmp_path):
    gone, stays = finished(lab, name="gone"), finished(lab, name="stays")
    list(lab.compare(gone, "Hi"))
    lab.delete_run(gone)
    assert [run["id"] for run in lab.list_runs()] == [stays]
    assert [path.name for path in (tmp_path / "data" / "runs").iterdir()] == [stays]
    with pytest.raises(NotFoundError):
        next(lab.compare(gone, "Hi"))
    list(lab.compare(stays, "Hi"))


def test_a_run_at_work_cannot_be_deleted(lab, pace):
    def delete(runner):
        with pytest.raises(BusyError, match="is running: stop it"):
            lab.delete_run(runner.run.id)

    pace.at[2] = delete
    finished(lab)


def test_deleting_another_run_while_one_trains_changes_no_bit_of_it(lab, pace, kept):
    other = finished(lab)
    list(lab.compare(other, "Hi"))
    pace.at[3] = lambda runner: list_and_delete(lab, other)
    run_id = finished(lab, TWELVE_STEPS)
    assert curve(lab, run_id) == undisturbed(kept)
    assert [run["id"] for run in lab.list_runs()] == [run_id]


def list_and_delete(lab, run_id):
    assert len(lab.list_runs()) == 2
    lab.delete_run(run_id)


def test_a_deleted_run_comes_back_with_all_it_had(lab):
    run_id = finished(lab)
    before = lab.show_run(run_id)
    lab.bin_run(run_id)
    assert lab.list_runs() == []
    for question in (lab.run_status, lab.resume_run, lab.ready_adapter, lab.bin_run):
        with pytest.raises(NotFoundError):
            question(run_id)
    lab.unbin_run(run_id)
    assert lab.show_run(run_id) == before
    assert lab.has_adapter(run_id)
    with pytest.raises(NotFoundError, match="emptied"):
        lab.unbin_run(run_id)


def test_the_bin_is_emptied_by_the_next_start_and_not_by_who_only_reads(tmp_path):
    with opened(tmp_path / "data") as lab:
        run_id = finished(lab)
        lab.bin_run(run_id)
        with opened(tmp_path / "data", writing=False) as reader:
            assert reader.list_runs() == []
        assert (tmp_path / "data" / "runs" / run_id).is_dir()
    with opened(tmp_path / "data") as lab:
        assert not (tmp_path / "data" / "runs" / run_id).exists()
        with pytest.raises(NotFoundError, match="emptied"):
            lab.unbin_run(run_id)


def test_the_bin_is_emptied_after_a_while(lab, monkeypatch):
    run_id = finished(lab)
    monkeypatch.setattr("instruct_tune.services.training.BIN_SECONDS", 0.12)
    lab.bin_run(run_id)
    deadline = time.monotonic() + PATIENCE
    while (lab.data_dir / "runs" / run_id).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
