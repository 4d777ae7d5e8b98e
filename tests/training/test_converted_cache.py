"""The cache of converted weights: the least recently used folder is removed first, and never a loaded one."""

import gc
import os
import time

import pytest
from tiny_lab import tiny

from instruct_tune.pretrained import converted_cache as module
from instruct_tune.pretrained.converted_cache import converted, hold


def made(cache, name):
    return converted(cache, f"bin-{name * 16}", lambda folder: (folder / "w").write_bytes(bytes(400_000)))


def used(cache, *names):
    """Make the folders, each used a minute before the next."""
    for age, name in enumerate(reversed(names)):
        made(cache, name)
        os.utime(cache / f"bin-{name * 16}", (time.time() - 60 * (age + 1),) * 2)


def names(cache):
    return {path.name[4:5] for path in cache.glob("bin-*")}


def test_what_was_used_the_longest_time_ago_makes_room(tmp_path, monkeypatch):
    used(tmp_path, "a", "b", "c")
    monkeypatch.setenv("LAB_MAX_CACHE_MB", "1")
    made(tmp_path, "a")
    made(tmp_path, "d")
    assert names(tmp_path) == {"a", "d"}


def test_what_is_held_and_what_was_just_made_stays(tmp_path, monkeypatch):
    used(tmp_path, "a", "b")
    monkeypatch.setattr(module, "max_cache_bytes", lambda: 1)
    held = hold(tmp_path / f"bin-{'a' * 16}")
    made(tmp_path, "c")
    assert names(tmp_path) == {"a", "c"}
    os.close(held)
    made(tmp_path, "d")
    assert names(tmp_path) == {"d"}


@pytest.mark.usefixtures("tiny_cache")
def test_a_model_in_memory_is_held_and_one_that_is_gone_is_not(monkeypatch):
    loaded = tiny()
    folder = loaded.weights.path
    assert not module._removed(folder)
    assert folder.is_dir()
    del loaded
    gc.collect()
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
    assert module._removed(folder)
    folder.with_name(f".{folder.name}-removed").rename(folder)


def test_what_a_killed_process_left_half_done_is_removed_and_another_at_work_is_not(tmp_path):
    for name, age in ((".wheel-old_x", 2 * 24 * 3600), (".wheel-new_x", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    made(tmp_path, "a")
    assert [path.name for path in tmp_path.glob(".*")] == [".wheel-new_x"]


def test_what_others_keep_in_the_same_folder_is_never_removed(tmp_path, monkeypatch):
    """The host may have set a folder that holds runs, or a home folder with hidden files."""
    monkeypatch.setattr(module, "max_cache_bytes", lambda: 1)
    others = ("runs", "bin-abc", "wheels", ".config-of-another", ".wheel")
    for name in others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "w").write_bytes(bytes(100))
        os.utime(tmp_path / name, (0, 0))
    made(tmp_path, "a")
    assert {path.name for path in tmp_path.iterdir()} == {*others, f"bin-{'a' * 16}"}
