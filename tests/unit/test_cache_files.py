"""The small JSON files of the cache folder: concurrent threads and processes lose no write."""

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from instruct_tune.estimate.calibrate import SpeedMemory
from instruct_tune.estimate.resources import Speed
from instruct_tune.pretrained import cache_folder
from instruct_tune.pretrained.cache_folder import add_entry, change_file, read_entries

SPEED = Speed(*(1.0 for _ in dataclasses.fields(Speed)))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def at_once(work, count=40):
    """Call ``work(number)`` on eight threads; re-raise an exception of one of them."""
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(count)))
    finally:
        sys.setswitchinterval(switching)


def test_entries_of_threads_that_write_at_once_are_all_kept(cache):
    at_once(lambda number: add_entry("notes.json", f"key {number}", number))
    assert read_entries("notes.json") == {f"key {number}": number for number in range(40)}
    assert [file.name for file in cache.iterdir()] == ["notes.json"]


def test_measurements_of_threads_that_write_at_once_are_all_kept(cache):
    speed = dataclasses.replace(SPEED, crowded=False)
    at_once(lambda number: SpeedMemory().put(f"key {number}", speed))
    assert [SpeedMemory().get(f"key {number}") for number in range(40)] == [speed] * 40
    assert [file.name for file in cache.iterdir()] == ["speed.json"]


WRITES = """
import sys
from instruct_tune.pretrained.cache_folder import add_entry
for number in range(50):
    add_entry("notes.json", f"{sys.argv[1]} {number}", number)
"""


def test_entries_of_processes_that_write_at_once_are_all_kept():
    command = [sys.executable, "-c", WRITES]
    writers = [subprocess.Popen([*command, str(name)], cwd=Path(__file__).parents[2]) for name in range(2)]
    assert [writer.wait(300) for writer in writers] == [0, 0]
    assert len(read_entries("notes.json")) == 100


def test_a_change_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(cache):
    add_entry("notes.json", "a", 1)
    with pytest.raises(TypeError):
        change_file(cache / "notes.json", lambda entries: {**entries, "b": object()})
    assert json.loads((cache / "notes.json").read_text()) == {"a": 1}
    assert [file.name for file in cache.iterdir()] == ["notes.json"]
    add_entry("notes.json", "c", 3)
    assert read_entries("notes.json") == {"a": 1, "c": 3}


def test_the_oldest_entries_go_first(monkeypatch):
    monkeypatch.setattr(cache_folder, "MAX_ENTRIES", 3)
    for key in ("a", "b", "c", "a", "d"):
        add_entry("notes.json", key, key)
    assert list(read_entries("notes.json")) == ["c", "a", "d"]
