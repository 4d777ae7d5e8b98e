"""Deleting runs, and the trash they wait in."""

import pytest
from labs import TWELVE_STEPS, curve, finished, opened, trained, undisturbed

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import BusyError, NotFoundError
from instruct_tune.services import housekeeping

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


def test_a_deleted_run_is_gone(lab, tmp_path):
    gone, stays = trained(lab, name="gone"), trained(lab, name="stays")
    list(lab.inference.compare(HOST, gone, "Hi"))
    lab.training.delete(HOST, gone)
    assert [run["id"] for run in lab.runs.summaries(HOST)] == [stays]
    assert [path.name for path in (tmp_path / "data" / "runs").iterdir()] == [stays]
    with pytest.raises(NotFoundError):
        next(lab.inference.compare(HOST, gone, "Hi"))
    list(lab.inference.compare(HOST, stays, "Hi"))


def test_a_run_at_work_cannot_be_deleted(lab, pace):
    def delete(runner):
        with pytest.raises(BusyError, match="is running: stop it"):
            lab.training.delete(HOST, runner.run.id)

    pace.at[2] = delete
    finished(lab)


@pytest.mark.slow
def test_deleting_another_run_while_one_trains_changes_no_bit_of_it(lab, pace, kept):
    other = trained(lab)
    list(lab.inference.compare(HOST, other, "Hi"))
    pace.at[3] = lambda runner: list_and_delete(lab, other)
    run_id = finished(lab, TWELVE_STEPS)
    assert curve(lab, run_id) == undisturbed(kept)
    assert [run["id"] for run in lab.runs.summaries(HOST)] == [run_id]


def list_and_delete(lab, run_id):
    assert len(lab.runs.summaries(HOST)) == 2
    lab.training.delete(HOST, run_id)


def test_a_deleted_run_comes_back_with_all_it_had(lab):
    run_id = trained(lab)
    before = lab.runs.details(HOST, run_id)
    lab.runs.trash(HOST, run_id)
    assert lab.runs.summaries(HOST) == []
    for question in (lab.training.status, lab.training.resume, lab.answerers.get, lab.runs.trash):
        with pytest.raises(NotFoundError):
            question(HOST, run_id)
    lab.runs.restore(HOST, run_id)
    assert lab.runs.details(HOST, run_id) == before
    assert lab.answerers.has_adapter(HOST, run_id)
    with pytest.raises(NotFoundError, match="emptied"):
        lab.runs.restore(HOST, run_id)


def test_a_deleted_run_outlives_the_lab_and_is_gone_after_an_hour(tmp_path, monkeypatch):
    with opened(tmp_path / "data") as lab:
        run_id = trained(lab)
        lab.runs.trash(HOST, run_id)
        with opened(tmp_path / "data", writing=False) as reader:
            assert reader.runs.summaries(HOST) == []
    folder = tmp_path / "data" / "runs" / run_id
    with opened(tmp_path / "data") as lab:
        lab.runs.restore(HOST, run_id)
        assert lab.answerers.has_adapter(HOST, run_id)
        lab.runs.trash(HOST, run_id)
    monkeypatch.setattr(housekeeping, "TRASH_SECONDS", 0)
    with opened(tmp_path / "data", writing=False):
        assert folder.is_dir(), "who only reads deletes nothing"
    with opened(tmp_path / "data") as lab:
        assert not folder.exists()
        with pytest.raises(NotFoundError, match="emptied"):
            lab.runs.restore(HOST, run_id)
