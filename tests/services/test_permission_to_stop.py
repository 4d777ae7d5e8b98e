"""Permission to stop, delete, resume, rename and restore what another visitor started."""

from __future__ import annotations

import time

import pytest
from labs import PATIENCE, opened, smoke
from visitors import ANN, BOB, hosted_lab

from instruct_tune.config.viewer import ANONYMOUS, HOST
from instruct_tune.errors import NotYoursError

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    with hosted_lab(tmp_path / "data", monkeypatch) as lab:
        yield lab


def test_on_a_hosted_lab_only_who_started_a_run_and_the_host_may_stop_it(hosted):
    run_id = hosted.training.start(ANN, smoke(), "ann's")
    for viewer in (BOB, ANONYMOUS):
        for act in (hosted.training.stop, hosted.training.delete, hosted.training.resume):
            with pytest.raises(NotYoursError, match="somebody else"):
                act(viewer, run_id)
        with pytest.raises(NotYoursError):
            hosted.runs.rename(viewer, run_id, "mine")
    assert hosted.training.stop(ANN, run_id) in ("stopping", "stopped")
    hosted.training.wait(run_id, PATIENCE)
    hosted.training.delete(HOST, run_id)


def test_on_a_hosted_lab_who_started_a_run_and_the_host_may_restore_it(hosted):
    run_id = hosted.training.start(ANN, smoke(), "ann's")
    hosted.training.stop(ANN, run_id)
    hosted.training.wait(run_id, PATIENCE)
    hosted.runs.trash(ANN, run_id)
    assert hosted.runs.trashed(BOB) == []
    with pytest.raises(NotYoursError):
        hosted.runs.restore(BOB, run_id)
    for viewer in (ANN, HOST):
        assert [run["id"] for run in hosted.runs.trashed(viewer)] == [run_id]
        hosted.runs.restore(viewer, run_id)
        assert hosted.runs.trashed(viewer) == []
        hosted.runs.trash(viewer, run_id)


def test_what_a_script_started_without_a_name_is_anybodys_to_stop(hosted):
    run_id = hosted.training.start(ANONYMOUS, smoke(), "")
    assert hosted.training.stop(ANONYMOUS, run_id) in ("stopping", "stopped")


def test_on_a_machine_of_ones_own_anybody_may_stop(lab):
    run_id = lab.training.start(ANN, smoke(), "ann's")
    assert lab.training.stop(BOB, run_id) in ("stopping", "stopped")


def test_a_lab_with_a_hosts_token_is_a_hosted_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_ADMIN_TOKEN", "the host's token")
    with opened(tmp_path) as lab:
        run_id = lab.training.start(ANN, smoke(), "ann's")
        with pytest.raises(NotYoursError):
            lab.training.stop(BOB, run_id)
        lab.access.arrive("bob's page", "bob's own secret")
        assert lab.access.admit("bob's page", "the host's token")
        assert lab.training.stop(lab.access.of("bob's page"), run_id) in ("stopping", "stopped")


def test_only_who_started_an_evaluation_may_stop_it(hosted):
    run_id = hosted.training.start(ANN, smoke(), "ann's")
    assert hosted.training.wait(run_id, PATIENCE).status == "finished"
    evaluation = hosted.evaluations.start(ANN, run_id, generation={"max_new_tokens": 1500})
    while not hosted.evaluations.progress(HOST, run_id):
        time.sleep(0.01)
    with pytest.raises(NotYoursError):
        hosted.evaluations.stop(BOB, run_id)
    hosted.evaluations.stop(ANN, run_id)
    assert evaluation.exception(PATIENCE) is not None
    assert hosted.runs.evaluations(HOST, run_id) == []


def test_a_traceback_is_for_who_started_the_run_and_the_host(hosted, monkeypatch):
    run_id = hosted.store.create("ann's", smoke().to_dict(), started_by=ANN.id).id
    hosted.store.update(run_id, status="failed", message="So it is.", traceback="File /home/ann, line 1")
    assert [hosted.runs.traceback(viewer, run_id) for viewer in (BOB, ANONYMOUS)] == [None, None]
    assert [hosted.runs.traceback(viewer, run_id) for viewer in (ANN, HOST)] == ["File /home/ann, line 1"] * 2
    assert "/home/ann" not in str(hosted.runs.details(BOB, run_id))
    monkeypatch.setattr(hosted.access, "_multi_user", False)
    assert hosted.runs.traceback(BOB, run_id) == "File /home/ann, line 1"
