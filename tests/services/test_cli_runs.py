"""The commands on the history of runs, also beside a lab that is open."""

import contextlib
import os
import sqlite3
import zipfile
from pathlib import Path

import pytest
from commands import _folders, answer_of, refused, run, trained, write_lines
from labs import opened, smoke

from instruct_tune.store.lock import DataLock
from instruct_tune.store.run_store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread")


# runs


def test_runs_list_is_newest_first(answer_of, tmp_path):
    assert answer_of("runs", "list") == {"runs": []}
    store = RunStore(tmp_path / "data")
    config = smoke().to_dict()
    for number, name in enumerate(("old", "middle", "new")):
        store.update(store.create(name, config).id, created=1e9 + number, status="finished")
    store.close()
    runs = answer_of("runs", "list")["runs"]
    assert [run["name"] for run in runs] == ["new", "middle", "old"]
    assert all(set(run) >= {"id", "name", "status"} for run in runs)


def test_runs_show_has_configuration_and_metrics(answer_of, trained):
    folder, run_id = trained
    shown = answer_of("runs", "show", run_id, "--data-dir", folder)
    assert (shown["id"], shown["status"], shown["name"]) == (run_id, "finished", "tulip")
    assert shown["config"] == smoke().to_dict()
    steps = [metric for metric in shown["metrics"] if metric["kind"] == "train"]
    assert [metric["step"] for metric in steps] == [1, 2, 3, 4]
    assert all({"seq", "step", "epoch", "loss"} <= set(metric) for metric in steps)


def test_runs_export_writes_a_zip(answer_of, trained, tmp_path):
    folder, run_id = trained
    done = answer_of("runs", "export", run_id, "--to", tmp_path / "out.zip", "--data-dir", folder)
    assert done["file"] == str(tmp_path / "out.zip")
    assert "adapter_model.safetensors" in zipfile.ZipFile(tmp_path / "out.zip").namelist()


def test_runs_plot_writes_the_losses_and_the_scores(answer_of, refused, trained, tmp_path):
    folder, run_id = trained
    options = ("--data-dir", folder)
    for name, begins in (("loss.png", b"\x89PNG"), ("loss.svg", b"<?xml")):
        done = answer_of("runs", "plot", run_id, "--to", tmp_path / name, *options)
        assert Path(done["file"]).read_bytes().startswith(begins)
    assert "png or .svg" in refused("runs", "plot", run_id, "--to", tmp_path / "loss.gif", *options)
    assert "evaluate it first" in refused("runs", "plot", run_id, "--scores", "--to", tmp_path / "x.png", *options)


@pytest.mark.slow
def test_runs_export_to_where_nothing_can_be_written_is_refused(refused, trained, tmp_path):
    folder, run_id = trained
    assert "cannot be written" in refused(
        "runs", "export", run_id, "--to", tmp_path / "no" / "x.zip", "--data-dir", folder
    )
    assert "cannot be written" in refused("runs", "export", run_id, "--to", tmp_path, "--data-dir", folder)


def test_runs_delete_takes_a_run_away(answer_of, refused, tmp_path):
    run_id = answer_of("train", "--preset", "smoke")["run_id"]
    assert answer_of("runs", "delete", run_id)["run_id"] == run_id
    assert answer_of("runs", "list") == {"runs": []}
    assert not (tmp_path / "data" / "runs" / run_id).exists()
    assert "There is no run" in refused("runs", "show", run_id)


@pytest.mark.parametrize("odd", ["nope", "../runs", "", "%s"])
def test_a_run_that_there_is_not_is_refused_by_every_command(refused, trained, odd, tmp_path):
    folder, _ = trained
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"instruction": "a"}])
    for arguments in (
        ["runs", "show", odd],
        ["runs", "delete", odd],
        ["runs", "export", odd, "--to", tmp_path / "x.zip"],
        ["train", "--resume=" + odd],
        ["evaluate", "--run", odd],
        ["generate", "--run", odd, "--prompts", prompts],
    ):
        if odd or arguments[0] != "train":
            assert "There is no run" in refused(*arguments, "--data-dir", folder)


# Beside another process


@contextlib.contextmanager
def held(folder):
    lock = DataLock(folder)
    try:
        yield
    finally:
        lock.release()


def test_a_second_process_that_would_write_reads_who_is_first(refused, tmp_path):
    with held(tmp_path / "data"):
        for arguments in (
            ["train", "--preset", "smoke"],
            ["lesson", "--preset", "smoke"],
            ["runs", "delete", "x"],
            ["evaluate", "--run", "x"],
        ):
            message = refused(*arguments)
            assert f"pid {os.getpid()}" in message
            assert str(tmp_path / "data") in message


def dump(folder):
    with contextlib.closing(sqlite3.connect(folder / "lab.sqlite")) as db:
        return list(db.iterdump())


def test_reading_beside_a_live_lab_changes_nothing(answer_of, tmp_path):
    with opened(tmp_path / "data") as lab:
        run = lab.store.create("at work", smoke().to_dict())
        lab.store.update(run.id, status="running", phase="training", step=3, total_steps=9)
        lab.store.add_metric(run.id, "train", 3, 0.5, {"loss": 1.0})
        before = dump(tmp_path / "data")
        (listed,) = answer_of("runs", "list")["runs"]
        shown = answer_of("runs", "show", run.id)
        answer_of("data")
        assert dump(tmp_path / "data") == before
        assert (listed["status"], shown["status"], shown["step"]) == ("running", "running", 3)
        assert shown["metrics"][0]["loss"] == 1.0
        # The lab can still write.
        lab.store.update(run.id, status="finished")
    (listed,) = answer_of("runs", "list")["runs"]
    assert listed["status"] == "finished"


def test_a_data_folder_that_cannot_be_one_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for arguments in (["runs", "list"], ["train", "--preset", "smoke"], ["data"]):
            assert str(tmp_path / "file") in refused(*arguments, "--data-dir", folder)


def test_a_history_that_is_none_is_refused_to_who_reads_and_put_aside_by_who_writes(refused, answer_of, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lab.sqlite").write_text("this is no database, and it is longer than a header " * 100)
    assert "lab.sqlite" in refused("runs", "list")
    trained = answer_of("train", "--preset", "smoke")
    assert [run["id"] for run in answer_of("runs", "list")["runs"]] == [trained["run_id"]]
