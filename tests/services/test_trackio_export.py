"""A run in trackio's storage: what trackio reads back is what the lab holds."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import time

import pytest
from labs import finished, opened, smoke, until
from pyproject import PROJECT

from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import DataError, LabError
from instruct_tune.export import trackio_sink
from instruct_tune.export.trackio_sink import OWN, PIN
from instruct_tune.lab import Lab
from instruct_tune.runs.examples import BEST, put_recorded
from instruct_tune.runs.scrub import without_own_prompts
from instruct_tune.services import live_trackio


@pytest.fixture
def run(lab):
    """The recorded run, whose numbers and last evaluation come with the lab."""
    put_recorded(lab.store)
    return lab.runs.get(HOST, BEST)


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """trackio's storage in a folder of the test."""
    storage = pytest.importorskip(
        "trackio.sqlite_storage", reason="trackio brings uvloop along, so it is no part of the dev extra"
    )
    monkeypatch.setattr(storage, "TRACKIO_DIR", tmp_path / "trackio")
    return storage.SQLiteStorage


def test_the_pin_is_that_of_the_extra():
    assert PROJECT["optional-dependencies"]["trackio"] == [PIN]


def test_without_trackio_it_is_one_sentence(lab, run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LabError, match=f"^trackio is not installed here: pip install {PIN}$"):
        lab.transfers.export_trackio(HOST, BEST, "class")


@pytest.mark.parametrize("wrong", [["--page"], ["--to", "x.zip"], []])
def test_wrong_usage(wrong, capsys):
    target = ["--trackio", "class"] if wrong else []
    try:
        status = main(["runs", "export", BEST, *target, *wrong])
    except SystemExit as left:
        status = left.code
    assert status in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_without_trackio_a_lab_that_should_write_there_says_so_and_locks_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_TRACKIO", "class")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LabError, match=f"^trackio is not installed here: pip install {PIN}$"):
        Lab(tmp_path / "data")
    monkeypatch.delenv("LAB_TRACKIO")
    with opened(tmp_path / "data"):
        pass


def test_a_run_is_written_while_it_trains_and_at_its_end_and_no_other(tmp_path, tiny_cache, pace, monkeypatch):
    """What the lab writes and when; trackio itself is not needed for that."""
    monkeypatch.setattr(live_trackio, "SECONDS", 0.01)
    monkeypatch.setattr(trackio_sink, "require_installed", lambda: None)
    monkeypatch.setenv("LAB_TRACKIO", "class")
    written, quiet = [], []
    with opened(tmp_path / "data") as lab:
        put_recorded(lab.store)

        def renamed() -> list:
            return [each for each in written if each[2] == "renamed"]

        def write(viewer, run_id, project):
            run = lab.store.get(run_id)
            written.append((run_id, project, run.name, run.status, len(lab.store.metrics(run_id))))
            if len(renamed()) == 1:
                raise OSError("disk full")

        def rename(runner):
            """While the run waits here, nothing of it changes."""
            lab.store.update(runner.run.id, name="renamed")
            until(lambda: len(renamed()) >= 2, "a second try")
            time.sleep(20 * live_trackio.SECONDS)
            quiet.extend(renamed())

        lab.transfers.export_trackio = write
        pace.at[2] = rename
        run_id = finished(lab, smoke())
        metrics = len(lab.store.metrics(run_id))
    assert {each[:2] for each in written} == {(run_id, "class")}
    assert len(quiet) == 2, "only what failed is written again"
    assert quiet[0] == quiet[1]
    assert quiet[0][3] == "running"
    assert quiet[0][4] < metrics
    assert written[-1][3:] == ("finished", metrics)


def test_what_trackio_reads_is_what_was_written(lab, run, storage):
    from trackio import Api

    written = lab.transfers.export_trackio(HOST, BEST, "class")
    (read,) = Api().runs("class")
    assert (read.id, read.name) == (run.id, run.name)
    assert {name: read.config[name] for name in run.config} == without_own_prompts(run).config
    logs = storage.get_logs("class", run.name, run_id=run.id)
    assert len(logs) == written
    metrics = lab.runs.metrics(HOST, BEST)
    for metric in metrics:
        kind, values = metric["kind"], {name: value for name, value in metric.items() if name not in OWN}
        wanted = {
            f"{kind}/{name.removeprefix(f'{kind}_')}": value
            for name, value in values.items()
            if isinstance(value, int | float)
        }
        assert any(log["step"] == metric["step"] and wanted.items() <= log.items() for log in logs), metric
    evaluation = lab.runs.evaluations(HOST, BEST)[0]
    assert logs[-1]["evaluation/tuned/bleu"] == evaluation["tuned"]["bleu"]
    assert logs[-1]["evaluation/base/ci_low"] == evaluation["base"]["ci"][0]
    assert logs[-1]["step"] == run.step
    assert read.config["evaluation"]["signature"] == evaluation["tuned"]["signature"]


def test_the_evaluation_stands_at_the_step_that_the_adapter_is_of(lab, run, storage):
    best = dataclasses.replace(run, provenance={**run.provenance, "kept_step": 4})
    evaluation = lab.store.evaluations(BEST)[0]
    trackio_sink.write_run(best, lab.store.metrics(BEST), evaluation, "class")
    logs = storage.get_logs("class", run.name, run_id=run.id)
    assert [log["step"] for log in logs if "evaluation/tuned/bleu" in log] == [4]


def test_a_second_export_replaces_the_first_and_two_runs_of_one_name_are_two(lab, run, storage):
    rows = lab.transfers.export_trackio(HOST, BEST, "class")
    again = lab.store.create(run.name, run.config).id
    lab.store.add_metric(again, "train", 1, 0.1, {"loss": math.inf, "grad_norm": math.nan, "tokens": 7})
    assert lab.transfers.export_trackio(HOST, again, "class") == 1
    lab.store.add_metric(BEST, "train", run.step + 1, 2.0, {"loss": 1.5})
    assert lab.transfers.export_trackio(HOST, BEST, "class") == rows + 1
    assert len(storage.get_logs("class", run.name, run_id=BEST)) == rows + 1
    (diverged,) = storage.get_logs("class", run.name, run_id=again)
    assert diverged["train/loss"] == math.inf
    assert math.isnan(diverged["train/grad_norm"])
    assert sorted(record["id"] for record in storage.get_run_records("class")) == sorted([BEST, again])


def test_no_folder_and_no_own_prompt_leaves(lab, run, storage, tmp_path):
    config = json.loads(json.dumps(run.config))
    config["model"], config["train"]["own_prompts"] = str(tmp_path / "secret" / "model"), ["my own words"]
    mine = lab.store.create("mine", config).id
    lab.store.add_metric(mine, "train", 1, 0.1, {"loss": 1.0})
    lab.transfers.export_trackio(HOST, mine, "class")
    kept = json.dumps(storage.get_run_config("class", "mine", run_id=mine))
    assert "secret" not in kept
    assert "my own words" not in kept


def test_a_run_without_numbers_and_a_reserved_name_are_sentences(lab, run, storage):
    empty = lab.store.create("empty", run.config).id
    with pytest.raises(DataError, match=r"empty .* has no numbers yet"):
        lab.transfers.export_trackio(HOST, empty, "class")
    with pytest.raises(DataError, match="trackio does not take this project"):
        lab.transfers.export_trackio(HOST, BEST, "class_system")
