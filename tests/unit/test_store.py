"""The history: written data is read back, and a deleted run is gone with its files or lies in the bin."""

import dataclasses
import json
import sqlite3
import time
from contextlib import closing

import pytest
import stores
from stores import CONFIG

from instruct_tune.config.environment import default_data_dir
from instruct_tune.errors import BusyError, NotFoundError
from instruct_tune.store import snapshot
from instruct_tune.store.run import LIVE, Run
from instruct_tune.store.run_store import RunStore

store = stores.store


# Runs


def test_a_new_run_is_queued_and_has_a_folder(store, tmp_path):
    before = time.time()
    run = store.create("first try", CONFIG)
    assert (run.name, run.status, run.config) == ("first try", "queued", CONFIG)
    assert (run.phase, run.message, run.step, run.total_steps) == (None, "", 0, 0)
    assert (run.ended, run.error_kind, run.provenance, run.live) == (None, None, {}, True)
    assert before <= run.created <= time.time()
    assert store.get(run.id) == run
    assert store.folder(run.id) == tmp_path / "runs" / run.id
    assert store.folder(run.id).is_dir()


def test_a_run_without_a_name_is_called_by_its_id(store):
    run = store.create("", CONFIG)
    assert run.name == run.id


def test_names_may_repeat_and_ids_do_not(store):
    runs = [store.create("same", CONFIG) for _ in range(20)]
    assert len({run.id for run in runs}) == 20


def test_history_is_newest_first(store):
    assert store.all() == []
    ids = [store.create(f"run {n}", CONFIG).id for n in range(3)]
    for number, run_id in enumerate(ids):
        store.update(run_id, created=1000.0 + number)
    assert [run.id for run in store.all()] == ids[::-1]


def test_update_sets_what_is_given_and_nothing_else(store):
    one, other = store.create("one", CONFIG), store.create("other", CONFIG)
    store.update(one.id, status="failed", step=3, total_steps=9, message="no", error_kind="data", ended=5.0)
    run = store.get(one.id)
    assert (run.status, run.step, run.total_steps) == ("failed", 3, 9)
    assert (run.message, run.error_kind, run.ended) == ("no", "data", 5.0)
    assert (run.name, run.config, run.live) == ("one", CONFIG, False)
    assert store.get(other.id) == other


def test_provenance_is_added_to_that_known(store):
    run = store.create("", CONFIG)
    store.update(run.id, provenance={"device": "cpu", "rows": 1})
    store.update(run.id, provenance={"rows": 2, "versions": {"torch": "2"}})
    assert store.get(run.id).provenance == {"device": "cpu", "rows": 2, "versions": {"torch": "2"}}


def test_a_snapshot_names_the_provenance_facts(store):
    run = store.create("", CONFIG)
    store.update(run.id, status="finished", provenance={"device": "cpu"})
    entered = dataclasses.replace(store.get(run.id), id=store.new_id())
    store.enter(entered)
    for run_id in (run.id, entered.id):
        (row,) = snapshot.read(store.folder(run_id))["runs"]
        assert json.loads(row["facts"]) == {"device": "cpu"}
        assert "provenance" not in row


@pytest.mark.parametrize("status", ["queued", "running", "stopping", "stopped", "finished", "failed", "interrupted"])
def test_only_a_run_at_work_is_live_and_can_be_marked_as_stopping(store, status):
    run = store.create("", CONFIG)
    store.update(run.id, status=status)
    live = status in ("queued", "running", "stopping")
    assert store.get(run.id).live is live
    assert store.mark_stopping(run.id) is live
    assert store.get(run.id).status == ("stopping" if live else status)


@pytest.mark.parametrize("odd", ["../x", "", 5, ".", "/etc", "' OR 1=1 --", None, ["a"], "\0", "x" * 10_000])
def test_an_id_that_is_none_is_not_found(store, odd):
    store.create("", CONFIG)
    for ask in (store.get, store.folder, store.delete, store.mark_stopping):
        with pytest.raises(NotFoundError) as caught:
            ask(odd)
        assert len(str(caught.value)) < 200


def test_a_deleted_run_takes_its_history_and_files_with_it(store, tmp_path):
    gone, remaining = store.create("gone", CONFIG), store.create("kept", CONFIG)
    for run in (gone, remaining):
        store.add_metric(run.id, "train", 1, 0.1, {"loss": 1.0})
        store.add_event(run.id, "hello")
        store.add_evaluation(run.id, {"rows": 1})
        (store.folder(run.id) / "checkpoint-1").mkdir()
        (store.folder(run.id) / "checkpoint-1" / "file").write_text("x")
        store.update(run.id, status="finished")
    store.delete(gone.id)
    assert [run.id for run in store.all()] == [remaining.id]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [remaining.id]
    for table in ("metrics", "events", "evaluations"):
        rows = sqlite3.connect(tmp_path / "lab.sqlite").execute(f"SELECT run_id FROM {table}").fetchall()
        assert rows == [(remaining.id,)]
    with pytest.raises(NotFoundError):
        store.get(gone.id)


@pytest.mark.parametrize("status", LIVE)
def test_a_run_at_work_cannot_be_deleted(store, status):
    run = store.create("mine", CONFIG)
    store.update(run.id, status=status)
    store.add_event(run.id, "hello")
    with pytest.raises(BusyError, match=f"mine is {status}: stop it"):
        store.delete(run.id)
    assert store.get(run.id).status == status
    assert store.events(run.id)
    assert store.folder(run.id).is_dir()


def test_what_was_left_at_work_becomes_interrupted(store):
    runs = {status: store.create(status, CONFIG) for status in (*LIVE, "finished", "failed", "stopped")}
    for status, run in runs.items():
        store.update(run.id, status=status, phase="training", step=7)
    assert set(store.interrupt_orphans()) == {runs[status].id for status in LIVE}
    for status, run in runs.items():
        now = store.get(run.id)
        if status in LIVE:
            assert (now.status, now.phase, now.step) == ("interrupted", None, 7)
            assert "step 7" in now.message
            assert now.ended is not None
            assert store.events(run.id)[-1]["text"] == now.message
        else:
            assert now.status == status
            assert store.events(run.id) == []
    assert store.interrupt_orphans() == []


def test_what_was_written_is_there_for_the_next_process(tmp_path):
    store = RunStore(tmp_path)
    run = store.create("naïve ☃", CONFIG)
    store.add_metric(run.id, "train", 1, 0.5, {"loss": 1 / 3})
    store.close()
    again = RunStore(tmp_path)
    assert again.get(run.id) == run
    assert again.metrics(run.id)[0]["loss"] == 1 / 3
    again.close()


# Location


def test_the_data_folder_is_the_one_that_was_set(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_DATA_DIR", str(tmp_path / "mine"))
    assert default_data_dir() == tmp_path / "mine"


@pytest.mark.parametrize("value", ["", None])
def test_without_one_it_is_the_users_own(monkeypatch, tmp_path, value):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    if value is None:
        monkeypatch.delenv("LAB_DATA_DIR", raising=False)
    else:
        monkeypatch.setenv("LAB_DATA_DIR", value)
    assert tmp_path in default_data_dir().parents
    assert "instruction-tuning-lab" in default_data_dir().parts


# The bin


def test_a_run_in_the_bin_is_gone_until_it_is_taken_out(store):
    run = ended(store)
    store.trash(run.id)
    assert store.all() == []
    assert not store.has(run.id)
    with pytest.raises(NotFoundError):
        store.get(run.id)
    store.restore(run.id)
    assert store.get(run.id) == run


def test_a_run_at_work_cannot_be_put_into_the_bin(store):
    run = store.create("busy", CONFIG)
    with pytest.raises(BusyError, match="stop it before"):
        store.trash(run.id)
    assert store.has(run.id)


def test_the_bin_is_emptied_of_what_lies_there_long_enough(store):
    old, new, remaining = ended(store), ended(store), ended(store)
    for run, when in ((old, 100.0), (new, 200.0)):
        store.update(run.id, binned=when)
    assert [run.id for run in store.trashed()] == [new.id, old.id]
    store.add_event(old.id, "was here")
    assert store.trashed_ids(before=150.0) == [old.id]
    store.erase_trashed(old.id)
    with pytest.raises(NotFoundError, match="emptied"):
        store.erase_trashed(remaining.id)
    assert not (store.data_dir / "runs" / old.id).exists()
    assert (store.data_dir / "runs" / new.id).exists()
    with pytest.raises(NotFoundError, match="emptied"):
        store.restore(old.id)
    store.restore(new.id)
    assert {run.id for run in store.all()} == {new.id, remaining.id}
    assert store.events(old.id) == []


def test_a_list_of_runs_reads_no_more_than_it_shows(store):
    parent = ended(store)
    child = store.create("child", {**CONFIG, "template": "x" * 10_000}, parent=parent)
    store.update(
        child.id, provenance={"imported": True, "recorded": {"machine": "m", "date": "d"}, "long": "y" * 10_000}
    )
    shown = {run.id: run for run in store.listed()}
    assert [run.id for run in store.listed()] == [run.id for run in store.all()]
    for run in store.all():
        listed = ("parent", "recorded", "imported")
        provenance = {name: value for name, value in run.provenance.items() if name in listed}
        config = {"model": run.config["model"], "data": {"source": run.config["data"]["source"]}}
        assert shown[run.id] == dataclasses.replace(run, config=config, provenance=provenance)
    assert shown[child.id].provenance["parent"]["id"] == parent.id
    store.trash(parent.id)
    assert store.owners() == {child.id: None}


def ended(store):
    run = store.create("ended", CONFIG)
    store.update(run.id, status="finished")
    return store.get(run.id)


# Queries of the list of runs


def test_the_version_changes_with_every_write_and_with_nothing_else(store, tmp_path):
    run = store.create("one", CONFIG)
    before = store.version()
    store.all()
    assert store.version() == before
    store.add_event(run.id, "something")
    own = store.version()
    assert own != before
    with closing(RunStore(tmp_path)) as other:
        other.add_event(run.id, "from another process")
    assert store.version() != own


def test_a_run_that_happened_elsewhere_is_entered_as_it_was(store):
    run = Run("far-away", "of old", "finished", None, "Done.", 3, 3, 10.0, 20.0, CONFIG, None, {"device": "cpu"})
    metric = {"kind": "train", "step": 1, "epoch": 0.5, "time": 12.5, "loss": 2.0}
    event, sample = {"time": 11.0, "text": "began"}, {"step": 1, "time": 12.0, "text": "hi", "ended": True}
    evaluation = {"time": 19.0, "rows": 4}
    store.enter(run, metrics=[metric], events=[event], samples=[sample], evaluations=[evaluation])
    assert store.get(run.id) == run
    assert [{k: v for k, v in m.items() if k != "seq"} for m in store.metrics(run.id)] == [metric]
    # A sample from before runs had several prompts is that of the first.
    assert (store.events(run.id), store.samples(run.id)) == ([event], [{**sample, "prompt": 0}])
    assert [{k: v for k, v in e.items() if k != "seq"} for e in store.evaluations(run.id)] == [evaluation]


def test_a_run_from_before_the_setting_was_answered_at_every_probe(store):
    old = store.create("old", {**CONFIG, "train": {"probes": 6}})
    new = store.create("new", {**CONFIG, "train": {"probes": 6, "sample_every": 3}})
    assert store.get(old.id).config["train"] == {"probes": 6, "sample_every": 1}
    assert store.get(new.id).config["train"] == {"probes": 6, "sample_every": 3}
