"""Recovery of a damaged or missing history: the old file is kept, and the runs are restored from their folders."""

import json
import random
import shutil
import sqlite3
from contextlib import closing

import pytest
from histories import ANN, everything, fill, without_seq
from labs import PATIENCE, curve, finished, opened, smoke

from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.errors import StoreError
from instruct_tune.lab import Lab
from instruct_tune.store import snapshot
from instruct_tune.store.recovery import damage, open_rescued
from instruct_tune.store.run_store import RunStore
from instruct_tune.ui import build_ui
from instruct_tune.util.hashing import sha256_of_text

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")

BOB = known_by("bob's own long secret")
SIX = smoke(train={"num_train_epochs": 2, "max_steps": 6, "probes": 2, "eval_strategy": "steps", "eval_steps": 2,
                   "save_strategy": "steps", "save_steps": 2, "save_minutes": None})  # fmt: skip


def flip(file, chance, count=200):
    content = bytearray(file.read_bytes())
    for _ in range(count):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


SPOILT = {
    "bytes flipped": lambda file: flip(file, random.Random(1)),
    "header flipped": lambda file: file.write_bytes(b"\x01" + file.read_bytes()[1:]),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 + 100]),
    "replaced with text": lambda file: file.write_text("this is no database, and longer than a header " * 100),
    "an entry that is no JSON": lambda file: _spoil_entry(file),
}


def _spoil_entry(file):
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE runs SET config = substr(config, 2)")
        db.commit()


@pytest.mark.parametrize("how", SPOILT)
def test_a_damaged_history_is_kept_aside_and_its_runs_are_found_again(tmp_path, how, caplog):
    with closing(RunStore(tmp_path)) as store:
        runs = fill(store)
        before = {run_id: without_seq(everything(store, run_id)) for run_id in runs}
    SPOILT[how](tmp_path / "lab.sqlite")
    spoilt = (tmp_path / "lab.sqlite").read_bytes()
    store, message = open_rescued(tmp_path)
    with closing(store):
        (aside,) = tmp_path.glob("lab.sqlite.damaged-*[0-9]")
        assert aside.read_bytes() == spoilt
        assert message.startswith("The history was damaged (")
        assert f"kept as {aside.name}; a new one was begun, 2 runs were found again in their folders" in message
        assert message in caplog.text
        for run_id in runs:
            *after, changes = without_seq(everything(store, run_id))
            *rows, former = before[run_id]
            assert after == rows
            assert changes[:-1] == former
            assert changes[-1]["reason"].startswith("The history was damaged (")
    again, second_message = open_rescued(tmp_path)
    again.close()
    assert second_message is None


def copy_as_after_a_crash(store, folder):
    """Copy the files as a crash leaves them: the last entries are only in the write-ahead log."""
    (folder / "runs").mkdir(parents=True)
    for file in ("lab.sqlite", "lab.sqlite-wal"):
        shutil.copy(store.data_dir / file, folder / file)
    shutil.copytree(store.data_dir / "runs", folder / "runs", dirs_exist_ok=True)


LOST = {
    "cut": lambda file, before: file.write_bytes(file.read_bytes()[:before]),
    "flipped": lambda file, before: _flip_at(file, before + 40),
    "gone": lambda file, before: file.unlink(),
}


def _flip_at(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("how", LOST)
def test_what_a_damaged_log_lost_is_found_again_in_the_folders(tmp_path, how, caplog):
    with closing(RunStore(tmp_path / "live")) as store:
        public, private = fill(store, 5)
        store._history._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.update(public, tags='["kept"]')
        before = (tmp_path / "live" / "lab.sqlite-wal").stat().st_size
        store.add_metric(public, "train", 6, 2.0, {"loss": 0.5})
        store.update(private, status="stopped", name="renamed", step=6)
        store.update(public, owner=ANN.id)
        store.add_evaluation(public, {"rows": 9, "predictions": "there"})
        copy_as_after_a_crash(store, tmp_path / "left")
        expected = {run_id: without_seq(everything(store, run_id)) for run_id in (public, private)}
    LOST[how](tmp_path / "left" / "lab.sqlite-wal", before)
    with closing(RunStore(tmp_path / "left")) as unaware:
        assert unaware.get(private).name == "private", "SQLite drops it without a word"
        assert unaware.get(public).owner is None
    store, message = open_rescued(tmp_path / "left")
    with closing(store):
        assert message.startswith("The last entries of the history were lost")
        assert "2 runs have been restored from their folders." in message
        assert message.rstrip(".") in caplog.text
        for run_id in (public, private):
            *after, changes = without_seq(everything(store, run_id))
            *rows, former = expected[run_id]
            assert after == rows
            assert changes[:-1] == former
            assert "lost its last entries" in changes[-1]["reason"]
    again, second_message = open_rescued(tmp_path / "left")
    again.close()
    assert second_message is None


def test_a_folder_that_knows_less_than_the_history_changes_nothing(tmp_path):
    with closing(RunStore(tmp_path / "live")) as store:
        public, private = fill(store, 5)
        old = (store.folder(public) / snapshot.FILE).read_bytes()
        store.update(public, name="renamed")
        store.update(private, step=3)
        (store.folder(public) / snapshot.FILE).write_bytes(old)
        copy_as_after_a_crash(store, tmp_path / "left")
    store, message = open_rescued(tmp_path / "left")
    with closing(store):
        assert message is None
        assert store.get(public).name == "renamed"


def test_only_the_last_damaged_histories_are_kept(tmp_path, monkeypatch):
    for second in range(5):
        monkeypatch.setattr("instruct_tune.store.recovery.time.strftime", lambda form, s=second: f"20260101-00000{s}")
        (tmp_path / "lab.sqlite").write_text("no database " * 100)
        (tmp_path / "lab.sqlite-wal").write_text("its log")
        open_rescued(tmp_path)[0].close()
    aside = sorted(path.name for path in tmp_path.glob("lab.sqlite.damaged-*"))
    assert aside == [f"lab.sqlite.damaged-20260101-00000{s}{end}" for s in (2, 3, 4) for end in ("", "-wal")]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_byte_is_flipped_the_next_start_has_the_runs(tmp_path, seed):
    with closing(RunStore(tmp_path)) as store:
        runs = fill(store, 10)
    flip(tmp_path / "lab.sqlite", random.Random(seed), count=3)
    store, _ = open_rescued(tmp_path)
    with closing(store):
        assert {run.id for run in store.all()} == set(runs)
        for run_id in runs:
            everything(store, run_id)


def test_the_log_beside_the_history_goes_aside_with_it(tmp_path):
    with closing(RunStore(tmp_path)) as store:
        fill(store)
        for end in ("", "-wal"):
            shutil.copy(tmp_path / f"lab.sqlite{end}", tmp_path / f"copy{end}")
    for end in ("", "-wal"):
        shutil.move(tmp_path / f"copy{end}", tmp_path / f"lab.sqlite{end}")
    (tmp_path / "lab.sqlite").write_text("no database " * 100)
    store, _ = open_rescued(tmp_path)
    store.close()
    assert [path.name for path in tmp_path.glob("*damaged*-wal")]


def test_a_history_that_is_gone_is_begun_anew_from_the_folders(tmp_path):
    with closing(RunStore(tmp_path)) as store:
        fill(store)
    (tmp_path / "lab.sqlite").unlink()
    store, message = open_rescued(tmp_path)
    with closing(store):
        assert len(store.all()) == 2
    assert message == "2 runs were found again in their folders, as last written there: the history did not know them."


def test_what_is_whole_is_left_alone_and_so_is_what_others_hold(tmp_path):
    assert damage(tmp_path) is None
    with closing(RunStore(tmp_path)) as store:
        fill(store)
        assert damage(tmp_path) is None
        with sqlite3.connect(tmp_path / "lab.sqlite") as other:
            other.execute("BEGIN EXCLUSIVE")
            assert damage(tmp_path) is None
            other.execute("ROLLBACK")
        other.close()


def test_who_only_reads_puts_nothing_aside_and_says_what_to_do(tmp_path):
    (tmp_path / "lab.sqlite").write_text("this is no database " * 100)
    with pytest.raises(StoreError, match="start the lab on this folder"):
        Lab(tmp_path, writing=False)
    assert not list(tmp_path.glob("*damaged*"))


def test_a_deleted_run_does_not_come_back(tmp_path):
    with closing(RunStore(tmp_path)) as store:
        public, private = fill(store)
        store.update(private, status="stopped")
        store.delete(private)
        # As if the process had died before it removed the folder.
        (tmp_path / "runs" / private).mkdir()
        store.trash(public)
    (tmp_path / "lab.sqlite").unlink()
    store, message = open_rescued(tmp_path)
    with closing(store):
        assert store.all() == []
        assert [run.id for run in store.trashed()] == [public], "what was in the bin is there still"
    assert "1 of the folders under runs cannot be read and is left as found" in message


@pytest.mark.parametrize("how", ["flipped", "of another run", "gone"])
def test_a_folder_that_tells_nothing_true_is_left_as_found(tmp_path, how):
    with closing(RunStore(tmp_path)) as store:
        public, private = fill(store)
    folder = tmp_path / "runs" / private
    text = (folder / snapshot.FILE).read_text()
    if how == "flipped":
        (folder / snapshot.FILE).write_text(text.replace('"private"', '"Private"'))
    elif how == "gone":
        (folder / snapshot.FILE).unlink()
    else:
        shutil.copy(tmp_path / "runs" / public / snapshot.FILE, folder)
    (tmp_path / "lab.sqlite").unlink()
    store, message = open_rescued(tmp_path)
    with closing(store):
        assert [run.id for run in store.all()] == [public]
    assert "1 of the folders" in message
    assert folder.is_dir()


def test_runs_whose_folders_were_not_updated_are_at_the_next_start(tmp_path):
    with closing(RunStore(tmp_path)) as store:
        public, _ = fill(store)
        (tmp_path / "runs" / public / snapshot.FILE).unlink()
    store, message = open_rescued(tmp_path)
    store.close()
    assert message is None
    assert snapshot.read(tmp_path / "runs" / public) is not None


def test_a_column_that_the_history_does_not_have_is_left_out(tmp_path):
    with closing(RunStore(tmp_path)) as store:
        _, private = fill(store)
        saved = snapshot.read(tmp_path / "runs" / private)
        run = store.get(private)
        saved["runs"][0]["id) VALUES ('x') --"] = 1
        store.enter_again(saved, "Found.")
        assert store.get(private) == run


def test_a_folder_that_cannot_be_written_is_reported_and_the_history_goes_on(tmp_path, caplog):
    with closing(RunStore(tmp_path)) as store:
        public, _ = fill(store)
        shutil.rmtree(tmp_path / "runs" / public)
        store.update(public, name="another")
        assert store.get(public).name == "another"
    assert "cannot be kept in its folder too" in caplog.text


def test_each_word_of_a_run_is_in_its_folder_when_it_counts(tmp_path):
    """After every change the folder's snapshot holds the same row as the history."""
    with closing(RunStore(tmp_path)) as store:
        _, private = fill(store)
        for act in (
            lambda: store.update(private, owner=None),
            lambda: store.update(private, name="renamed"),
            lambda: store.update(private, tags='["a"]', notes="good"),
            lambda: store.mark_stopping(private),
            lambda: store.update(private, status="stopped"),
            lambda: store.add_evaluation(private, {"rows": 1}),
            lambda: store.trash(private),
            lambda: store.restore(private),
        ):
            act()
            (row,) = snapshot.read(tmp_path / "runs" / private)["runs"]
            assert row == dict(store._history.read("SELECT * FROM runs WHERE id = ?", (private,))[0])


@pytest.mark.slow
def test_a_lab_goes_on_after_its_history_was_damaged(tmp_path):
    """Metrics, adapter, evaluation and privacy survive; an interrupted run is resumed bit for bit."""
    with opened(tmp_path / "data") as lab:
        whole = finished(lab, SIX)
        reference = curve(lab, whole)
        *_, evaluation = lab.evaluations.stream(HOST, whole, 2)
        lab.store.update(whole, owner=ANN.id)
        run_id = lab.training.start(HOST, SIX)
        lab.training.wait(run_id, PATIENCE)
        folder = lab.store.folder(run_id)
    # As after a crash at step 5 with the last checkpoint at step 4.
    shutil.rmtree(folder / "checkpoint-6")
    saved = snapshot.read(folder)
    saved["runs"][0] |= {"status": "running", "phase": "saving", "step": 4}
    saved["metrics"] = [metric for metric in saved["metrics"] if metric["step"] <= 4]
    write_snapshot(folder, saved)
    (tmp_path / "data" / "lab.sqlite").write_text("no database " * 100)
    with opened(tmp_path / "data") as lab:
        assert curve(lab, whole) == reference
        assert [report["bleu"] for report in (lab.runs.evaluations(HOST, whole)[0]["tuned"],)] == [
            evaluation["tuned"]["bleu"]
        ]
        assert [lab.runs.is_visible(viewer, whole) for viewer in (HOST, ANN, BOB)] == [True, True, False]
        assert lab.inference.generate(HOST, whole, [{"instruction": "Say hello."}])
        run = lab.store.get(run_id)
        assert run.status == "interrupted"
        assert run.message == "The lab's process ended at step 4; the run can be resumed."
        assert "The history was damaged" in " ".join(c["reason"] for c in lab.runs.details(HOST, run_id)["changes"])
        page = {block.elem_id: block for block in build_ui(lab).blocks.values() if block.elem_id}
        assert "The history was damaged" in page["notice"].value
        lab.training.resume(HOST, run_id)
        assert lab.training.wait(run_id, PATIENCE).status == "finished"
        assert curve(lab, run_id) == reference
    with opened(tmp_path / "data") as lab:
        assert "notice" not in {block.elem_id for block in build_ui(lab).blocks.values()}


def write_snapshot(folder, saved):
    body = json.dumps(saved)
    (folder / snapshot.FILE).write_text(json.dumps({"sha256": sha256_of_text(body)}) + "\n" + body + "\n")
