"""A system clock that jumps back or years ahead removes no data and distorts no time that is shown."""

import os
import time
from pathlib import Path

import pytest
from at_night import at_night_after
from labs import PATIENCE, cache_for, opened, smoke

from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.store import clock
from instruct_tune.store.clock import Clock

pytestmark = pytest.mark.usefixtures("one_thread")
ANN = known_by("ann's own long secret")
DAY = 24 * 3600.0
YEARS = 3000 * DAY


class Hands:
    """Both clocks of the machine: ``jump`` sets the wall clock alone, ``pass_by`` lets time pass on both."""

    def __init__(self, monkeypatch):
        self.ahead = self.passed = 0.0
        wall, steady = time.time, time.monotonic
        monkeypatch.setattr(clock.time, "time", lambda: wall() + self.ahead + self.passed)
        monkeypatch.setattr(clock.time, "monotonic", lambda: steady() + self.passed)

    def jump(self, seconds):
        self.ahead += seconds

    def pass_by(self, seconds):
        self.passed += seconds


@pytest.fixture
def hands(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
    return Hands(monkeypatch)


def upload(lab, tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text('[{"instruction": "a", "output": "b"}]')
    return Path(lab.uploads.keep(ANN, rows))


def tidied(lab):
    lab.housekeeping.remove_expired()
    lab.clock.remember()


@pytest.mark.parametrize("leap", [YEARS, -YEARS])
def test_uploads_and_private_runs_outlive_a_leap_of_the_clock_and_go_in_their_time(tmp_path, hands, leap):
    with opened(tmp_path / "data") as lab:
        file = upload(lab, tmp_path)
        private = lab.store.create("private", smoke().to_dict(), ANN.id, ANN.id).id
        lab.store.update(private, status="stopped", ended=time.time())
        hands.jump(leap)
        tidied(lab)
        assert file.exists()
        assert lab.runs.is_visible(ANN, private)
        hands.pass_by((lab.housekeeping.keep_hours + 1) * 3600)
        tidied(lab)
        assert not file.exists()
        assert not lab.runs.is_visible(ANN, private)


def test_a_start_years_later_removes_nothing_before_a_day_has_passed(tmp_path, hands):
    with opened(tmp_path / "data") as lab:
        file = upload(lab, tmp_path)
        tidied(lab)
    hands.jump(YEARS)
    for _ in range(2):
        with opened(tmp_path / "data") as lab:
            tidied(lab)
            assert file.exists()
    with opened(tmp_path / "data") as lab:
        hands.pass_by(DAY + 1)
        tidied(lab)
        assert not file.exists()


def test_a_lab_that_is_started_now_and_then_still_removes_what_is_old(tmp_path, hands):
    with opened(tmp_path / "data") as lab:
        file = upload(lab, tmp_path)
        long_ago = time.time() - (lab.housekeeping.keep_hours + 1) * 3600
        os.utime(file, (long_ago, long_ago))
        lab.clock.remember()
    hands.pass_by(DAY)
    with opened(tmp_path / "data") as lab:
        tidied(lab)
        assert not file.exists()


@pytest.mark.parametrize("leap", [YEARS, -YEARS])
def test_a_deleted_run_can_be_restored_for_an_hour_whatever_the_clock_says(tmp_path, hands, leap):
    with opened(tmp_path / "data") as lab:
        run_id = lab.store.create("a", smoke().to_dict()).id
        lab.store.update(run_id, status="stopped")
        lab.runs.trash(HOST, run_id)
        hands.jump(leap)
        lab.housekeeping.empty_trash()
        (row,) = lab.runs.trashed(HOST)
        assert 3500 < row["seconds_left"] <= 3600
        lab.clock.remember()
    # Another process.
    hands.jump(leap)
    with opened(tmp_path / "data") as lab:
        (row,) = lab.runs.trashed(HOST)
        assert 0 <= row["seconds_left"] <= 3600
        lab.runs.restore(HOST, run_id)
        lab.runs.trash(HOST, run_id)
        hands.pass_by(DAY + 1)
        lab.housekeeping.empty_trash()
        assert lab.runs.trashed(HOST) == []
    with opened(tmp_path / "data") as lab:
        assert lab.store.trashed() == []


@pytest.mark.parametrize("leap", at_night_after(1, [-YEARS, YEARS]))
def test_a_run_is_trained_and_timed_through_a_leap(tmp_path, hands, leap, monkeypatch):
    from labs import Pace

    pace, statuses = Pace(monkeypatch), []
    pace.at[2] = lambda runner: hands.jump(leap)
    pace.at[4] = lambda runner: statuses.append(lab.training.status(HOST, runner.run.id))
    with opened(tmp_path / "data") as lab:
        run_id = lab.training.start(
            HOST, smoke(train={"num_train_epochs": 2, "save_strategy": "no", "save_minutes": 60})
        )
        assert lab.training.wait(run_id, PATIENCE).status == "finished"
        assert 0 < statuses[0]["eta_seconds"] < PATIENCE
        assert all(
            0 < metric["seconds"] < PATIENCE for metric in lab.runs.metrics(HOST, run_id) if metric["kind"] == "train"
        )
        phases = [change["phase"] for change in lab.runs.details(HOST, run_id)["changes"]]
        assert phases.count("saving") <= 2, "a leap is no reason for a checkpoint"


def test_what_was_remembered_and_cannot_be_read_is_no_reason_for_doubt(tmp_path):
    (tmp_path / "clock").write_text("never")
    assert Clock(tmp_path / "clock", DAY).believed()
    Clock(tmp_path / "no folder" / "clock", DAY).remember()
