"""Several threads and processes use one store, and one process holds the lock."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import stores
from stores import CONFIG

from instruct_tune.errors import BusyError
from instruct_tune.store.lock import DataLock
from instruct_tune.store.run_store import RunStore

store = stores.store


def process(script, *arguments):
    """A Python process that runs ``script``, with text pipes."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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
import sys
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
from instruct_tune.store.lock import DataLock
lock = DataLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
SECOND = """
import sys
from pathlib import Path
from instruct_tune.errors import BusyError
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
