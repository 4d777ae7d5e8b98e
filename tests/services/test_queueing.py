"""One run at a time: queued, refused and withdrawn jobs, and labs that only read."""

import os
import threading

import pytest
from labs import PATIENCE, TWELVE_STEPS, finished, opened, smoke

from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.errors import BusyError, NotFoundError
from instruct_tune.lab import Lab

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.mark.slow
def test_who_comes_second_waits_for_a_turn(lab, pace):
    queued = []

    def submit(runner):
        queued.append(lab.training.start(HOST, smoke(), "second"))
        queued.append(lab.evaluations.start(HOST, runner.run.id, 2))
        waiting = lab.training.status(HOST, queued[0])
        assert (waiting["status"], waiting["place"]) == ("queued", 1)
        assert waiting["starts_in_seconds"] >= 0
        assert lab.training.status(HOST, runner.run.id)["place"] is None
        assert lab.evaluations.progress(HOST, runner.run.id)["place"] == 2
        with pytest.raises(BusyError, match="asked for already"):
            lab.evaluations.start(HOST, runner.run.id)

    pace.at[2] = submit
    first = finished(lab, TWELVE_STEPS, "first")
    assert queued[1].result(PATIENCE)["rows"] == 2
    assert lab.store.get(queued[0]).status == "finished"
    ends = [lab.store.get(run_id).ended for run_id in (first, queued[0])]
    assert ends == sorted(ends)
    assert lab.training.status(HOST, queued[0])["place"] is None


@pytest.mark.slow
def test_a_full_line_refuses_with_a_sentence_and_leaves_no_trace(lab, pace, tmp_path):
    refused = []

    def start_another(runner):
        lab.queue.max_waiting = 0
        for start in (
            lambda: lab.training.start(HOST, smoke(), "second"),
            lambda: lab.evaluations.start(HOST, runner.run.id),
        ):
            with pytest.raises(BusyError, match="waiting already") as caught:
                start()
            refused.append(caught.value)

    pace.at[2] = start_another
    finished(lab, TWELVE_STEPS, "first")
    assert len(refused) == 2
    assert [run["name"] for run in lab.runs.summaries(HOST)] == ["first"]
    assert len(list((tmp_path / "data" / "runs").iterdir())) == 1


def test_who_comes_too_late_by_a_hair_leaves_no_trace_either(lab, pace, monkeypatch, tmp_path):
    """Both saw a free place in the queue; only one of them gets it."""
    monkeypatch.setattr(lab.queue, "refuse_when_full", lambda by: None)
    refused = []

    def start_another(runner):
        lab.queue.max_waiting = 0
        with pytest.raises(BusyError) as caught:
            lab.training.start(HOST, smoke(), "second")
        refused.append(str(caught.value))

    pace.at[2] = start_another
    finished(lab, smoke(), "first")
    assert len(refused) == 1
    assert [run["name"] for run in lab.runs.summaries(HOST)] == ["first"]
    assert len(list((tmp_path / "data" / "runs").iterdir())) == 1


@pytest.mark.slow
def test_a_run_that_could_not_be_resumed_for_others_stays_as_it_was(lab, pace):
    pace.at[2] = lambda runner: lab.training.stop(HOST, runner.run.id)
    stopped = lab.training.start(HOST, TWELVE_STEPS, "stopped one")
    before = lab.training.wait(stopped, PATIENCE)
    shown = lab.runs.details(HOST, stopped)

    def resume(runner):
        lab.queue.max_waiting = 0
        with pytest.raises(BusyError, match="waiting already"):
            lab.training.resume(HOST, stopped)

    pace.at[3] = resume
    finished(lab, TWELVE_STEPS, "other")
    assert lab.store.get(stopped) == before
    after = lab.runs.details(HOST, stopped)
    assert {**after, "changes": None} == {**shown, "changes": None}
    assert [change["status"] for change in after["changes"][len(shown["changes"]) :]] == ["queued", "stopped"]
    assert after["changes"][-1]["reason"] == "Too many were waiting."


def test_fifty_starts_in_a_second(lab, engine_held):
    """As many start as the queue holds; each of the others gets an error, and the lab goes on."""
    visitor, taken, refused = known_by("somebody's own secret"), [], []

    def start(number, viewer):
        try:
            taken.append(lab.training.start(viewer, smoke(), f"number {number}"))
        except BusyError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(n, visitor if n % 2 else HOST)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    # One is about to begin, and sixteen are queued behind it.
    assert len(taken) == 17
    assert len(taken) + len(refused) == 50
    assert sorted(run["id"] for run in lab.runs.summaries(HOST)) == sorted(taken)
    assert sum(lab.store.get(run_id).started_by == visitor.id for run_id in taken) <= 4
    for run_id in taken:
        assert lab.training.stop(HOST, run_id) == "stopped"
    engine_held.set()
    finished(lab)


def test_of_a_deletion_and_a_resume_at_once_one_happens(lab, monkeypatch):
    run_id = lab.store.create("mine", smoke().to_dict()).id
    lab.store.update(run_id, status="stopped")
    update, ended = lab.store.update, lab.store._ended

    def update_after_a_deletion(of, **fields):
        if fields.get("status") == "queued":
            lab.runs.trash(HOST, of)
        update(of, **fields)

    monkeypatch.setattr(lab.store, "update", update_after_a_deletion)
    with pytest.raises(NotFoundError):
        lab.training.resume(HOST, run_id)
    monkeypatch.undo()
    lab.runs.restore(HOST, run_id)
    assert lab.store.get(run_id).status == "stopped"
    assert lab.queue.jobs == ()

    def ended_and_then_resumed(of):
        run = ended(of)
        update(of, status="queued")
        return run

    monkeypatch.setattr(lab.store, "_ended", ended_and_then_resumed)
    with pytest.raises(BusyError, match="is queued: stop it"):
        lab.runs.trash(HOST, run_id)
    assert lab.store.get(run_id).binned is None


@pytest.mark.slow
def test_a_run_that_waits_is_withdrawn_at_once(lab, pace):
    outcomes = []

    def submit(runner):
        kept, dropped = lab.training.start(HOST, smoke(), "second"), lab.training.start(HOST, smoke(), "third")
        outcomes.extend([kept, dropped, lab.training.stop(HOST, kept), lab.training.stop(HOST, dropped, keep=False)])
        assert lab.training.wait(kept, PATIENCE).status == "stopped"

    pace.at[2] = submit
    finished(lab, TWELVE_STEPS, "first")
    assert outcomes[2:] == ["stopped", "stopped"]
    assert [run["name"] for run in lab.runs.summaries(HOST)] == ["second", "first"]
    assert lab.runs.metrics(HOST, outcomes[0]) == []
    lab.training.resume(HOST, outcomes[0])
    assert lab.training.wait(outcomes[0], PATIENCE).status == "finished"


@pytest.mark.slow
def test_closing_leaves_runs_that_wait_to_be_resumed(tmp_path, pace):
    waiting, reached = [], threading.Event()
    with opened(tmp_path) as lab:

        def hold(runner):
            waiting.append(lab.training.start(HOST, smoke(), "second"))
            reached.set()
            assert runner.stop.wait(PATIENCE)

        pace.at[2] = hold
        first = lab.training.start(HOST, TWELVE_STEPS, "first")
        assert reached.wait(PATIENCE)
        lab.close(PATIENCE)
    with opened(tmp_path) as lab:
        assert lab.store.get(first).status == "interrupted"
        assert lab.store.get(waiting[0]).status == "interrupted"
        lab.training.resume(HOST, waiting[0])
        assert lab.training.wait(waiting[0], PATIENCE).status == "finished"


@pytest.mark.slow
def test_one_process_has_one_lab_on_a_folder_and_others_read(lab, tmp_path):
    run_id = finished(lab)
    with pytest.raises(BusyError, match=f"pid {os.getpid()}"):
        Lab(tmp_path / "data")
    reader = Lab(tmp_path / "data", writing=False)
    assert reader.runs.details(HOST, run_id) == lab.runs.details(HOST, run_id)
    reader.close()
    finished(lab)


def test_a_reader_leaves_a_run_at_work_alone(lab, pace, tmp_path):
    def look(runner):
        with opened(tmp_path / "data", writing=False) as reader:
            assert reader.training.status(HOST, runner.run.id)["status"] == "running"

    pace.at[2] = look
    finished(lab)
