"""The history: written data is read back, by several threads and processes, and one process holds the lock."""

import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from instruct_tune.errors import BusyError, NotFoundError
from instruct_tune.store import snapshot
from instruct_tune.store.lock import DataLock
from instruct_tune.store.run import LIVE, Run
from instruct_tune.store.run_store import RunStore, default_data_dir

CONFIG = {"model": "tiny-random", "data": {"source": "bundled"}}


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path)
    yield store
    store.close()


def process(script, *arguments):
    """A Python process that runs ``script``, with text pipes."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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


# Metrics, events, evaluations


def test_metrics_come_in_order_with_all_their_values(store):
    run = store.create("", CONFIG)
    store.add_metric(run.id, "probe", 0, 0.0, {"probe_loss": 3.0})
    store.add_metric(run.id, "train", 1, 0.25, {"loss": 2.5, "tokens": 40})
    first, second = store.metrics(run.id)
    assert (first["kind"], first["step"], first["epoch"], first["probe_loss"]) == ("probe", 0, 0.0, 3.0)
    assert (second["kind"], second["step"], second["epoch"]) == ("train", 1, 0.25)
    assert (second["loss"], second["tokens"]) == (2.5, 40)
    assert first["seq"] < second["seq"]


def test_a_step_done_again_replaces_the_old_one_under_a_greater_seq(store):
    run, other = store.create("", CONFIG), store.create("", CONFIG)
    for step in (1, 2, 3):
        store.add_metric(run.id, "train", step, step / 4, {"loss": float(step)})
    store.add_metric(run.id, "eval", 2, 0.5, {"eval_loss": 9.0})
    store.add_metric(other.id, "train", 2, 0.5, {"loss": 7.0})
    seen = store.metrics(run.id)[-1]["seq"]
    store.add_metric(run.id, "train", 2, 0.5, {"loss": 20.0})
    metrics = store.metrics(run.id)
    assert [(m["kind"], m["step"]) for m in metrics] == [("train", 1), ("train", 3), ("eval", 2), ("train", 2)]
    assert metrics[-1]["loss"] == 20.0
    assert [m["loss"] for m in store.metrics(run.id, after=seen)] == [20.0]
    assert store.metrics(other.id)[0]["loss"] == 7.0


def test_after_gives_only_what_a_reader_has_not_seen(store):
    run = store.create("", CONFIG)
    seen, got = 0, []
    for step in range(1, 6):
        store.add_metric(run.id, "train", step, 0.0, {"loss": 1.0})
        if step % 2 == 0:
            new = store.metrics(run.id, after=seen)
            seen = new[-1]["seq"]
            got += [m["step"] for m in new]
    assert got == [1, 2, 3, 4]
    assert [m["step"] for m in store.metrics(run.id, after=seen)] == [5]
    assert store.metrics(run.id, after=seen + 1) == []


def test_a_seq_is_never_given_twice(store):
    """Otherwise a reader that has seen it would miss what is written after a resume."""
    run = store.create("", CONFIG)
    for step in (1, 2, 3):
        store.add_metric(run.id, "train", step, 0.0, {"loss": 1.0})
    seen = store.metrics(run.id)[-1]["seq"]
    store.forget_metrics_after(run.id, 0)
    store.add_metric(run.id, "train", 1, 0.0, {"loss": 2.0})
    assert [m["loss"] for m in store.metrics(run.id, after=seen)] == [2.0]


def test_metrics_beyond_a_checkpoint_are_forgotten(store):
    run, other = store.create("", CONFIG), store.create("", CONFIG)
    for step in range(5):
        for each in (run, other):
            store.add_metric(each.id, "train", step, 0.0, {"loss": 1.0})
            store.add_metric(each.id, "probe", step, 0.0, {"probe_loss": 1.0})
    store.forget_metrics_after(run.id, 2)
    assert {(m["kind"], m["step"]) for m in store.metrics(run.id)} == {
        (k, s) for k in ("train", "probe") for s in range(3)
    }
    store.forget_metrics_after(run.id, -1)
    assert store.metrics(run.id) == []
    assert len(store.metrics(other.id)) == 10


def test_events_are_the_last_ones_oldest_first(store):
    run, other = store.create("", CONFIG), store.create("", CONFIG)
    for number in range(5):
        store.add_event(run.id, f"event {number}")
    store.add_event(other.id, "elsewhere")
    assert [event["text"] for event in store.events(run.id)] == [f"event {n}" for n in range(5)]
    assert [event["text"] for event in store.events(run.id, last=2)] == ["event 3", "event 4"]
    assert abs(store.events(run.id)[0]["time"] - time.time()) < 60


def test_evaluations_are_newest_first(store):
    run, other = store.create("", CONFIG), store.create("", CONFIG)
    for number in range(3):
        store.add_evaluation(run.id, {"rows": number, "base": {"bleu": 1.5}})
    evaluations = store.evaluations(run.id)
    assert [each["rows"] for each in evaluations] == [2, 1, 0]
    assert evaluations[0]["base"] == {"bleu": 1.5}
    assert store.evaluations(other.id) == []


# Threads and processes


def test_two_threads_write_and_nothing_is_lost(store):
    runs = [store.create("", CONFIG), store.create("", CONFIG)]
    faults = []

    def write(run):
        try:
            for step in range(150):
                store.add_metric(run.id, "train", step, 0.0, {"loss": 1.0})
                store.update(run.id, step=step, provenance={f"fact {step % 5}": step})
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    for run in runs:
        assert [m["step"] for m in store.metrics(run.id)] == list(range(150))
        assert store.get(run.id).step == 149
        assert store.get(run.id).provenance == {f"fact {n}": 145 + n for n in range(5)}


def test_a_fact_is_not_lost_to_another_thread(store):
    """A merge reads, then writes: both must happen under one lock."""
    run = store.create("", CONFIG)

    def write(letter):
        for number in range(60):
            store.update(run.id, provenance={f"{letter}{number}": number})

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.get(run.id).provenance) == 120


READER = """
import sys, time
from pathlib import Path
from instruct_tune.store.run_store import RunStore

store, run_id, wanted = RunStore(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("reading", flush=True)
seen, steps, looks = 0, [], 0
while len(steps) < wanted:
    new = store.metrics(run_id, seen)
    steps += [m["step"] for m in new]
    seen = new[-1]["seq"] if new else seen
    assert store.get(run_id).step <= wanted
    looks += 1
assert steps == list(range(wanted)), steps
print(looks)
"""


def test_two_processes_read_while_one_writes(store, tmp_path):
    run = store.create("", CONFIG)
    readers = [process(READER, tmp_path, run.id, 300) for _ in range(2)]
    for reader in readers:
        assert reader.stdout.readline() == "reading\n"
    for step in range(300):
        store.add_metric(run.id, "train", step, 0.0, {"loss": 1.0})
        store.update(run.id, step=step)
        # About as fast as steps can be, so that readers run on a busy machine too.
        time.sleep(0.003)
    for reader in readers:
        output, faults = reader.communicate(timeout=300)
        assert (reader.returncode, faults) == (0, "")
        assert int(output) > 1, "it should have looked more than once while the other wrote"


def test_processes_that_come_first_all_at_once_make_one_store(tmp_path):
    """A page, a list of runs and a script may open a new folder at the same time."""
    script = """
import sys
from pathlib import Path
from instruct_tune.store.run_store import RunStore
sys.stdin.readline()
print(RunStore(Path(sys.argv[1])).create("run", {}).id)
"""
    # Often enough to show a lock that is not waited for.
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        started = [process(script, folder) for _ in range(4)]
        for each in started:
            each.stdin.write("go\n")
            each.stdin.flush()
        outcomes = [each.communicate(timeout=300) for each in started]
        assert [faults for _, faults in outcomes] == [""] * 4
        assert {run.id for run in RunStore(folder).all()} == {output.strip() for output, _ in outcomes}


# The lock

HOLDER = """
import sys, time
from pathlib import Path
from instruct_tune.store import snapshot
from instruct_tune.store.lock import DataLock
lock = DataLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
SECOND = """
import sys
from pathlib import Path
from instruct_tune.errors import BusyError
from instruct_tune.store import snapshot
from instruct_tune.store.lock import DataLock
try:
    DataLock(Path(sys.argv[1]))
    print("free")
except BusyError as error:
    print(error)
"""


def ask_for_lock(folder):
    output, faults = process(SECOND, folder).communicate(timeout=300)
    assert faults == ""
    return output.strip()


def test_a_second_process_reads_who_holds_the_folder(tmp_path):
    lock = DataLock(tmp_path / "data")
    assert ask_for_lock(tmp_path / "data") == (
        f"The data folder {tmp_path / 'data'} is in use by another process (pid {os.getpid()}): "
        "stop that one, or give another --data-dir."
    )
    # The refusal takes nothing from the holder.
    assert f"pid {os.getpid()}" in ask_for_lock(tmp_path / "data")
    lock.release()
    assert ask_for_lock(tmp_path / "data") == "free"


def test_two_folders_do_not_know_of_each_other(tmp_path):
    lock = DataLock(tmp_path / "one")
    assert ask_for_lock(tmp_path / "other") == "free"
    lock.release()


def test_the_lock_is_free_after_its_holder_was_killed(tmp_path):
    holder = process(HOLDER, tmp_path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=rf"\(pid {holder.pid}\)"):
        DataLock(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=300)
    DataLock(tmp_path).release()


def test_the_next_holder_is_named_by_its_own_pid(tmp_path):
    """A shorter pid must not leave digits of the previous one."""
    (tmp_path / "lab.lock").write_text("123456789012345")
    lock = DataLock(tmp_path)
    assert (tmp_path / "lab.lock").read_text() == str(os.getpid())
    lock.release()


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


def test_samples_come_by_step_and_the_newer_one_of_a_step_counts(store):
    run = store.create("", CONFIG).id
    for step, text in ((4, "b"), (0, "a"), (4, "c")):
        store.add_samples(run, step, [(text, step == 4), ("<b>", False)])
    assert [(s["step"], s["prompt"], s["text"], s["ended"]) for s in store.samples(run)] == [
        (0, 0, "a", False), (0, 1, "<b>", False), (4, 0, "c", True), (4, 1, "<b>", False),
    ]  # fmt: skip
    store.add_samples(run, 4, [("alone", True)])
    assert [s["text"] for s in store.samples(run)] == ["a", "<b>", "alone"]
    store.forget_metrics_after(run, 0)
    assert {s["step"] for s in store.samples(run)} == {0}


def test_a_run_without_answers_has_none(store):
    run = store.create("", CONFIG).id
    store.add_samples(run, 0, [])
    assert store.samples(run) == []


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


def test_the_last_metric_is_that_of_the_greatest_step(store):
    run = store.create("one", CONFIG)
    assert store.last_metric(run.id, "probe") is None
    for step in (2, 10, 4):
        store.add_metric(run.id, "probe", step, 0.5, {"probe_loss": step / 10})
    store.add_metric(run.id, "train", 11, 0.5, {"loss": 9.0})
    assert store.last_metric(run.id, "probe") == {"probe_loss": 1.0}


def test_the_last_evaluation_of_each_run(store):
    first, second = store.create("a", CONFIG), store.create("b", CONFIG)
    for run, bleu in ((first, 1), (second, 2), (first, 3)):
        store.add_evaluation(run.id, {"bleu": bleu})
    assert store.last_evaluations() == {first.id: {"bleu": 3}, second.id: {"bleu": 2}}


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
