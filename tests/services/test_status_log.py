"""The status log of a run: every change is kept, and a failure has a kind and says what to do."""

import errno
import sqlite3
from contextlib import closing

import pytest
import torch
from at_night import at_night_after
from labs import PATIENCE, finished, smoke

from instruct_tune.compute.failures import LONGEST, failure
from instruct_tune.compute.training_work import Session
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DiskFullError, HubError, ModelError, StoreError
from instruct_tune.models import lora
from instruct_tune.services.training_job import TrainingJob
from instruct_tune.store import retention, sqlite_errors
from instruct_tune.store.run_store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread")


def course(lab, run_id):
    return [(change["status"], change["phase"]) for change in lab.runs.details(HOST, run_id)["changes"]]


# Changes


def test_every_change_of_a_run_is_kept_with_time_step_and_reason(lab):
    run_id = finished(lab, smoke(train={"probes": 0, "eval_strategy": "no", "save_minutes": None}))
    assert course(lab, run_id) == [
        ("queued", None), ("running", "loading"), ("running", "tokenising"), ("running", "training"),
        ("running", "saving"), ("running", "training"), ("running", "saving"), ("finished", None),
    ]  # fmt: skip
    changes = lab.runs.details(HOST, run_id)["changes"]
    assert all(change["reason"] for change in changes)
    assert [change["time"] for change in changes] == sorted(change["time"] for change in changes)
    assert changes[0]["step"] == 0
    assert changes[-1]["step"] == lab.store.get(run_id).total_steps
    assert changes[-1]["reason"] == lab.store.get(run_id).message


def test_a_stop_and_a_resume_are_changes_too(lab, pace):
    pace.at[2] = lambda runner: lab.training.stop(HOST, runner.run.id)
    run_id = lab.training.start(HOST, smoke())
    lab.training.wait(run_id, PATIENCE)
    assert ("stopping", "training") in course(lab, run_id)
    assert course(lab, run_id)[-1] == ("stopped", None)
    lab.training.resume(HOST, run_id)
    lab.training.wait(run_id, PATIENCE)
    after = course(lab, run_id)[course(lab, run_id).index(("stopped", None)) + 1 :]
    assert after[:2] == [("queued", None), ("running", "loading")]
    assert after[-1] == ("finished", None)


def test_what_stays_as_it_was_is_no_change(tmp_path):
    with closing(RunStore(tmp_path)) as store:
        run_id = store.create("a", {}).id
        for _ in range(3):
            store.update(run_id, status="queued", step=3)
        store.update(run_id, name="b")
        assert [change["status"] for change in store.changes(run_id)] == ["queued"]


def test_the_changes_of_one_run_are_bounded_and_anothers_stay(tmp_path, monkeypatch):
    monkeypatch.setitem(retention.MOST, "states", 5)
    with closing(RunStore(tmp_path)) as store:
        other, run_id = store.create("other", {}).id, store.create("a", {}).id
        for step in range(20):
            store.update(run_id, step=step, phase=f"phase {step}")
        assert [change["step"] for change in store.changes(run_id)] == [15, 16, 17, 18, 19]
        assert len(store.changes(other)) == 1
        store.update(run_id, status="stopped")
        store.delete(run_id)
        assert store._history.read("SELECT * FROM states WHERE run_id = ?", (run_id,)) == []


# Only a trained adapter makes a finished run


@pytest.mark.parametrize(("value", "words"), at_night_after(1, [(float("nan"), "not finite"), (0.0, "still zero")]))
def test_an_adapter_that_is_no_result_is_no_finished_run(lab, pace, value, words):
    def spoil(runner):
        loaded = lab.models.base(runner.config.model, "auto", print)
        hook = lora.fault

        def spoilt(model, name):
            for path, parameter in loaded.model.named_parameters():
                if "lora_B" in path:
                    torch.nn.init.constant_(parameter, value)
            return hook(model, name)

        runner_patch.setattr(lora, "fault", spoilt)

    with pytest.MonkeyPatch.context() as runner_patch:
        pace.at[1] = spoil
        run = lab.training.wait(lab.training.start(HOST, smoke()), PATIENCE)
    assert (run.status, run.error_kind) == ("failed", "diverged")
    assert words in run.message


def test_a_run_that_did_no_step_is_not_finished(lab, monkeypatch):
    monkeypatch.setattr(Session, "metric", lambda session, *metric: session._events.metric(*metric))
    run = lab.training.wait(lab.training.start(HOST, smoke()), PATIENCE)
    assert (run.status, run.error_kind) == ("failed", "diverged")
    assert "No step was trained" in run.message


# Failures


def chained(error, cause):
    try:
        raise error from cause
    except type(error) as raised:
        return raised


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (HubError("The Hub cannot be reached. Go online."), "unreachable", "Go online"),
        (ModelError("No such module."), "model", "No such module"),
        (MemoryError(), "memory", "lower train.max_length"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory", "lower train.max_length"),
        (FULL, "disk", "press Resume"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk", "press Resume"),
        (chained(RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), None), "disk", ""),
        (chained(ModelError("The adapter cannot be written."), FULL), "disk", "make room"),
        (OSError(errno.EACCES, "Permission denied"), "bug", "report what Runs shows"),
        (ZeroDivisionError("division by zero"), "bug", "report what Runs shows"),
    ],
)
def test_each_failure_has_a_kind_and_says_what_to_do(tmp_path, error, kind, words):
    result = failure(error, tmp_path)
    assert result.kind == kind
    assert words in result.message
    assert type(error).__name__ in result.traceback


def test_a_traceback_without_end_is_cut_at_its_beginning(tmp_path):
    result = failure(RuntimeError("x" * 2 * LONGEST + "the end"), tmp_path)
    assert len(result.traceback) == LONGEST
    assert result.traceback.rstrip().endswith("the end")


def test_a_fault_keeps_its_traceback_with_the_run_and_another_try_can_finish(lab, pace, caplog):
    def break_down(runner):
        raise ZeroDivisionError("a secret of the house")

    pace.at[1] = break_down
    run_id = lab.training.start(HOST, smoke())
    run = lab.training.wait(run_id, PATIENCE)
    assert (run.status, run.error_kind) == ("failed", "bug")
    assert "a secret of the house" in lab.runs.traceback(HOST, run_id)
    assert "break_down" in lab.runs.traceback(HOST, run_id)
    assert "a secret of the house" not in str(lab.runs.details(HOST, run_id))
    assert "a secret of the house" in caplog.text
    lab.training.resume(HOST, run_id)
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    assert lab.store.get(run_id).error_kind is None


def test_a_history_that_cannot_be_written_any_more_ends_the_run_and_not_the_lab(lab, pace, caplog):
    """As when the data folder is gone: the failure cannot be stored, so it goes to the process log."""

    def gone(*_):
        raise StoreError("The history cannot be written any more.")

    def lose_it(runner):
        trouble.setattr(RunStore, "update", gone)
        trouble.setattr(RunStore, "add_event", gone)

    with pytest.MonkeyPatch.context() as trouble:
        pace.at[1] = lose_it
        run_id = lab.training.start(HOST, smoke())
        lab.training.wait(run_id, PATIENCE)
    assert "cannot be written down" in caplog.text
    assert lab.store.get(run_id).status == "running"
    finished(lab)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite_errors.FULL, DiskFullError),
        (sqlite_errors.IOERR | 3 << 8, StoreError),  # SQLITE_IOERR_WRITE
        (sqlite_errors.READONLY, StoreError),
    ],
)
def test_what_the_disk_does_to_the_history_is_a_sentence(tmp_path, code, kind):
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    with closing(RunStore(tmp_path)) as store:
        run_id = store.create("a", {}).id

        def write():
            with store._history.writing() as db:
                db.execute("UPDATE runs SET name = 'b'")
                raise error

        with pytest.raises(kind, match=str(tmp_path)):
            write()
        assert store.get(run_id).name == "a"


def test_a_wrong_statement_is_a_fault_of_the_lab_and_no_trouble_with_the_disk(tmp_path):
    with closing(RunStore(tmp_path)) as store, pytest.raises(sqlite3.OperationalError, match="no such table"):
        store._history.read("SELECT * FROM nowhere")


def test_a_run_that_is_gone_fails_without_a_word(lab):
    run_id = finished(lab)
    runner = TrainingJob(lab.store.get(run_id), lab.store, lab.datasets, lab.devices.own, lab.queue)
    lab.store.delete(run_id)
    runner._fail(failure(MemoryError(), lab.data_dir))
    assert not lab.store.has(run_id)
