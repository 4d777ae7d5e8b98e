"""Histories of former versions are read and go on; those of other versions are refused and left as found."""

import json
import sqlite3
from contextlib import closing

import pytest
from histories import everything, fill, without_seq
from labs import opened

from instruct_tune.errors import StoreError
from instruct_tune.lab import Lab
from instruct_tune.store import snapshot
from instruct_tune.store.recovery import open_rescued
from instruct_tune.store.run_store import RunStore
from instruct_tune.store.schema import VERSION
from instruct_tune.util.hashing import sha256_of_text

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


def make_former(data_dir):
    """Turn the history and its snapshots into those of version 6, in which a step had one answer."""
    with closing(sqlite3.connect(data_dir / "lab.sqlite")) as db:
        db.executescript("""
            CREATE TABLE former (
                seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, step INTEGER NOT NULL, time REAL NOT NULL,
                text TEXT NOT NULL, ended INTEGER NOT NULL, UNIQUE (run_id, step)
            );
            INSERT INTO former SELECT seq, run_id, step, time, text, ended FROM samples;
            DROP TABLE samples;
            ALTER TABLE former RENAME TO samples;
            PRAGMA user_version = 6;
        """)
    for file in data_dir.glob(f"runs/*/{snapshot.FILE}"):
        seal, body = (json.loads(line) for line in file.read_text().splitlines())
        for sample in body["samples"]:
            del sample["prompt"]
        body = json.dumps(body)
        file.write_text(json.dumps({**seal, "sha256": sha256_of_text(body)}) + "\n" + body + "\n")


@pytest.mark.parametrize("lost", [False, True], ids=["history", "snapshots"])
def test_a_history_of_runs_with_one_prompt_is_read_and_goes_on(tmp_path, lost):
    with closing(RunStore(tmp_path)) as store:
        public, private = fill(store)
        before = {run: without_seq(everything(store, run)) for run in (public, private)}
    make_former(tmp_path)
    if lost:
        (tmp_path / "lab.sqlite").unlink()
    store, message = open_rescued(tmp_path)
    with closing(store):
        assert bool(message) == lost
        assert store.samples(public) == [
            {"step": 60, "time": before[public][2][0]["time"], "prompt": 0, "text": "an answer", "ended": True}
        ]
        if not lost:
            assert {run: without_seq(everything(store, run)) for run in before} == before
        store.add_samples(public, 61, [("one", True), ("two", False)])
        assert [sample["text"] for sample in store.samples(public)] == ["an answer", "one", "two"]
    with closing(sqlite3.connect(tmp_path / "lab.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert not db.execute("SELECT name FROM sqlite_master WHERE name LIKE '%former%'").fetchall()


@pytest.mark.parametrize("version", [VERSION - 2, VERSION + 1])
@pytest.mark.parametrize("writing", [True, False])
def test_a_history_of_another_version_is_refused_in_a_sentence_and_left_as_found(tmp_path, version, writing):
    with closing(RunStore(tmp_path)) as store:
        runs = fill(store)
    with closing(sqlite3.connect(tmp_path / "lab.sqlite")) as db:
        db.execute(f"PRAGMA user_version = {version}")
    for _ in range(2):
        with pytest.raises(StoreError, match=f"is of another version .*{version}, .*{VERSION}.*: start the lab"):
            Lab(tmp_path, writing=writing)
    assert not list(tmp_path.glob("*damaged*"))
    with closing(sqlite3.connect(tmp_path / "lab.sqlite")) as db:
        db.execute(f"PRAGMA user_version = {VERSION}")
    with opened(tmp_path) as lab:
        assert {run.id for run in lab.store.all()} == set(runs)
