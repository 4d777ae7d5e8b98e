"""Folders that exist whole or not at all, wherever the writing is interrupted."""

import os
import signal
import subprocess
import sys

import pytest

from instruct_tune.util import atomic_write


def write(final, text):
    with atomic_write.atomic_folder(final) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text(text)


def test_a_folder_is_as_it_was_written(tmp_path):
    write(tmp_path / "it", "first")
    assert atomic_write.fault(tmp_path / "it") is None
    write(tmp_path / "it", "second")
    assert (tmp_path / "it" / "inner" / "a.txt").read_text() == "second"
    assert atomic_write.fault(tmp_path / "it") is None
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_what_fails_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    write(tmp_path / "it", "first")
    with pytest.raises(ZeroDivisionError), atomic_write.atomic_folder(tmp_path / "it") as folder:
        (folder / f"half-{1 // 0}").mkdir()
    assert (tmp_path / "it" / "inner" / "a.txt").read_text() == "first"
    assert atomic_write.fault(tmp_path / "it") is None
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_files_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, atomic_write.Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda number: (done.append(os.readlink(f"/proc/self/fd/{number}")), fsync(number))
    )
    monkeypatch.setattr(atomic_write.Path, "rename", lambda path, to: (done.append("renamed"), rename(path, to)))
    write(tmp_path / "it", "first")
    beside = tmp_path / ".partial" / "it"
    assert done == [
        *map(str, (beside / "inner" / "a.txt", beside / "manifest.json", beside)), "renamed", str(tmp_path),
    ]  # fmt: skip


# Kills itself at the call of fsync or rename with the number in the second argument, from 0.
DIES = """
import os, signal, sys
from pathlib import Path
from instruct_tune.util import atomic_write
left = int(sys.argv[2])
def counted(real):
    def call(*given):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given)
    return call
os.fsync, Path.rename = counted(os.fsync), counted(Path.rename)
with atomic_write.atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "a.txt").write_text("second")
"""


def test_killed_at_every_point_it_is_whole_and_old_or_new(tmp_path):
    texts = set()
    for point in range(7):
        final = tmp_path / str(point) / "it"
        with atomic_write.atomic_folder(final) as folder:
            (folder / "a.txt").write_text("first")
        died = subprocess.run([sys.executable, "-c", DIES, str(final), str(point)], check=False)
        assert died.returncode == (-signal.SIGKILL if point < 6 else 0)
        # The next start of a lab calls this.
        atomic_write.finish(final.parent)
        assert atomic_write.fault(final) is None
        assert [path.name for path in final.parent.iterdir()] == ["it"]
        texts.add((final / "a.txt").read_text())
        # Leftovers of the killed process do not prevent the next write.
        write(final, "third")
        assert atomic_write.fault(final) is None
    assert texts == {"first", "second"}


def between_the_renames(tmp_path, new_is_whole):
    """The state after a process died between moving the old folder aside and moving the new one in."""
    write(tmp_path / "it", "first")
    with atomic_write.atomic_folder(tmp_path / "other") as folder:
        (folder / "a.txt").write_text("second")
    beside = tmp_path / atomic_write.PARTIAL
    beside.mkdir()
    (tmp_path / "it").rename(beside / "old-it")
    (tmp_path / "other").rename(beside / "it")
    if not new_is_whole:
        (beside / "it" / "a.txt").write_text("seco")


def test_a_new_folder_that_is_whole_is_put_in_its_place(tmp_path):
    between_the_renames(tmp_path, new_is_whole=True)
    atomic_write.finish(tmp_path)
    assert (tmp_path / "it" / "a.txt").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_the_old_folder_comes_back_where_the_new_one_is_not_whole(tmp_path):
    between_the_renames(tmp_path, new_is_whole=False)
    write(tmp_path / "another", "third")
    assert (tmp_path / "it" / "inner" / "a.txt").read_text() == "first"
    assert atomic_write.fault(tmp_path / "it") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "it"]


def test_a_lab_that_starts_finishes_what_was_broken_off(tmp_path):
    from labs import opened, smoke

    with opened(tmp_path / "data") as lab:
        run_id = lab.store.create("a", smoke().to_dict()).id
        lab.store.update(run_id, status="interrupted")
    folder = tmp_path / "data" / "runs" / run_id
    with atomic_write.atomic_folder(folder / "adapter") as written:
        (written / "a.txt").write_text("whole")
    (folder / atomic_write.PARTIAL).mkdir()
    (folder / "adapter").rename(folder / atomic_write.PARTIAL / "old-adapter")
    with opened(tmp_path / "data"):
        assert (folder / "adapter" / "a.txt").read_text() == "whole"
        assert not (folder / atomic_write.PARTIAL).exists()
