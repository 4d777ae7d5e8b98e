"""Visitors' permissions: who sees, uses, shares and deletes uploads and the runs trained on them."""

from __future__ import annotations

import json
import os
import threading
import time
import zipfile
from pathlib import Path

import pytest
from labs import PATIENCE, opened, smoke
from visitors import ANN, BOB, of, upload

from instruct_tune.config.viewer import ANONYMOUS, HOST
from instruct_tune.data.splits import Example
from instruct_tune.errors import DataError, ModelError, NotFoundError, NotYoursError, SettingsError
from instruct_tune.pretrained.hub_token import HubToken

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")
HOUR = 3600


@pytest.fixture
def private(lab):
    """A finished run of Ann's, trained on her upload."""
    run_id = lab.training.start(ANN, of(upload(lab, ANN)), "ann's secret plan")
    assert lab.training.wait(run_id, PATIENCE).status == "finished"
    return run_id


# Private runs


def everything_about(lab, run_id):
    """Every call that reads or changes a run."""
    return [
        lambda viewer: lab.runs.get(viewer, run_id), lambda viewer: lab.runs.config(viewer, run_id),
        lambda viewer: lab.runs.details(viewer, run_id), lambda viewer: lab.training.status(viewer, run_id),
        lambda viewer: lab.runs.metrics(viewer, run_id), lambda viewer: lab.runs.events(viewer, run_id),
        lambda viewer: lab.runs.samples(viewer, run_id), lambda viewer: lab.runs.scrub(viewer, run_id),
        lambda viewer: lab.runs.evaluations(viewer, run_id),
        lambda viewer: lab.runs.result(viewer, run_id), lambda viewer: lab.evaluations.predictions(viewer, run_id),
        lambda viewer: lab.evaluations.predictions_file(viewer, run_id),
        lambda viewer: lab.evaluations.interpretation(viewer, run_id),
        lambda viewer: lab.answerers.held_out_count(viewer, run_id),
        lambda viewer: lab.answerers.held_out_row(viewer, run_id, 0),
        lambda viewer: lab.answerers.has_adapter(viewer, run_id),
        lambda viewer: lab.evaluations.progress(viewer, run_id),
        lambda viewer: list(lab.inference.compare(viewer, run_id, "Hi")),
        lambda viewer: lab.inference.token_losses(viewer, run_id, Example("Hi", "", "Ho")),
        lambda viewer: lab.inference.adapter_effect(viewer, run_id),
        lambda viewer: lab.inference.generate(viewer, run_id, [{"instruction": "Hi"}]),
        lambda viewer: list(lab.inference.search(viewer, run_id, "Hi", tokens=8)),
        lambda viewer: lab.inference.branch(viewer, run_id, "Hi", "", [5], tokens=8),
        lambda viewer: lab.evaluations.recorded_row(viewer, run_id, 0),
        lambda viewer: list(lab.evaluations.stream(viewer, run_id, 2)),
        lambda viewer: lab.evaluations.start(viewer, run_id, 2),
        lambda viewer: lab.transfers.export(viewer, run_id, lab.data_dir / "out.zip"),
        lambda viewer: lab.transfers.export_merged(viewer, run_id, lab.data_dir / "out.zip"),
        lambda viewer: lab.transfers.export_gguf(viewer, run_id, lab.data_dir / "out.zip"),
        lambda viewer: lab.scripts.of_run(viewer, run_id, "py"),
        lambda viewer: lab.scripts.of_job(viewer, run_id, smoke(), "bob/taken"),
        lambda viewer: lab.run_pages.contents(viewer, run_id),
        lambda viewer: lab.push.notices(viewer, run_id),
        lambda viewer: lab.push.start(viewer, run_id, "bob/taken", HubToken("hf_of_bob")),
        lambda viewer: lab.hub_jobs.start(viewer, run_id, "l4x1", 60, 9.0, HubToken("hf_of_bob")),
        lambda viewer: lab.runs.may_publish_rows(viewer, run_id),
        lambda viewer: lab.inference.beside_copy(viewer, run_id, lab.data_dir, [("Hi", "")], threading.Event()),
        lambda viewer: lab.transfers.export_trackio(viewer, run_id, "class"),
        lambda viewer: lab.transfers.plot_losses(viewer, run_id, lab.data_dir / "x.png"),
        lambda viewer: lab.transfers.plot_scores(viewer, run_id, lab.data_dir / "x.png"),
        lambda viewer: lab.runs.rename(viewer, run_id, "x"), lambda viewer: lab.training.resume(viewer, run_id),
        lambda viewer: lab.training.stop(viewer, run_id), lambda viewer: lab.training.pause(viewer, run_id),
        lambda viewer: lab.runs.share(viewer, run_id, True),
        lambda viewer: lab.runs.last_metric(viewer, run_id, "probe"),
        lambda viewer: lab.runs.has_saved_adapter(viewer, run_id), lambda viewer: lab.runs.trash(viewer, run_id),
        lambda viewer: lab.runs.traceback(viewer, run_id), lambda viewer: lab.runs.readable_config(viewer, run_id),
        lambda viewer: lab.runs.annotate(viewer, run_id, "x", ""),
        lambda viewer: lab.evaluations.unfinished(viewer, run_id),
        lambda viewer: lab.inference.comparable(viewer, run_id),
        lambda viewer: list(lab.inference.compare_many(viewer, [{"run_id": "base"}, {"run_id": run_id}], "Hi")),
        lambda viewer: list(lab.inference.compare_rows(viewer, [{"run_id": "base"}, {"run_id": run_id}], [("Hi", "")])),
        lambda viewer: lab.training.delete(viewer, run_id),
    ]  # fmt: skip


def test_a_run_made_of_an_upload_does_not_exist_for_others(lab, private):
    for viewer in (BOB, ANONYMOUS):
        assert lab.runs.summaries(viewer) == []
        assert not lab.runs.is_visible(viewer, private)
        for look in everything_about(lab, private):
            with pytest.raises(NotFoundError) as hidden:
                look(viewer)
            # The message is the one for a run that does not exist.
            with pytest.raises(NotFoundError) as missing:
                lab.runs.get(viewer, "20260101-000000-0000")
            assert str(hidden.value).replace(private, "") == str(missing.value).replace("20260101-000000-0000", "")
    assert lab.store.get(private).name == "ann's secret plan"
    for viewer in (ANN, HOST):
        assert [run["id"] for run in lab.runs.summaries(viewer)] == [private]
        assert lab.answerers.held_out_row(viewer, private, 0).instruction.startswith("Say")
        assert list(lab.inference.compare(viewer, private, "Hi"))[-1]["done"]


def test_every_lab_method_about_a_run_is_in_the_list_above(lab):
    import inspect

    methods = {
        f"{service}.{name}"
        for service, owner in vars(lab).items()
        if type(owner).__module__.startswith("instruct_tune.services")
        for name, method in inspect.getmembers(type(owner), inspect.isfunction)
        if {"run_id", "viewer"} <= set(inspect.signature(method).parameters) and not name.startswith("_")
    }
    source = inspect.getsource(everything_about)
    listed = {name for name in methods if f"lab.{name}(" in source}
    # Some do not raise or are called through the others; ``is_shared``, ``stop`` and ``restore`` have their own tests,
    # and so have whose pushes and jobs one sees, and what a room does with a run.
    assert methods - listed == {
        "runs.is_visible", "answerers.get", "runs.get_to_change", "runs.is_shared", "evaluations.stop", "runs.restore",
        "runs.status", "push.of", "push.stop", "hub_jobs.of",
        "rooms.ran", "rooms.hand_in", "room_activities.blind", "room_activities.evaluate",
    }  # fmt: skip


def test_sharing_shows_a_run_to_everyone_until_it_is_taken_back(lab, private):
    lab.runs.share(ANN, private, True)
    assert [run["id"] for run in lab.runs.summaries(BOB)] == [private]
    assert lab.answerers.held_out_row(BOB, private, 0).instruction.startswith("Say")
    assert list(lab.inference.compare(ANONYMOUS, private, "Hi"))[-1]["done"]
    with pytest.raises(NotYoursError, match="only they can share"):
        lab.runs.share(BOB, private, False)
    # Ann's file stays private.
    with pytest.raises(DataError, match="not yours"):
        lab.training.start(BOB, lab.runs.config(BOB, private), "")
    lab.runs.share(ANN, private, False)
    assert lab.runs.summaries(BOB) == []


def test_only_who_may_share_is_offered_it(lab, private):
    public = lab.store.create("public", smoke().to_dict()).id
    assert [lab.runs.is_shared(viewer, private) for viewer in (ANN, BOB, HOST)] == [False, None, False]
    lab.runs.share(ANN, private, True)
    assert [lab.runs.is_shared(viewer, private) for viewer in (ANN, BOB, HOST)] == [True, None, True]
    assert [lab.runs.is_shared(ANN, run_id) for run_id in (public, "nobody", None)] == [None, None, None]


def test_runs_on_public_data_are_the_labs(lab):
    run_id = lab.training.start(ANN, smoke(), "for all")
    assert [run["name"] for run in lab.runs.summaries(BOB)] == ["for all"]
    assert [run["yours"] for run in lab.runs.summaries(BOB) + lab.runs.summaries(ANN)] == [False, True]
    with pytest.raises(DataError, match="public data"):
        lab.runs.share(ANN, run_id, False)


def test_what_the_lab_is_busy_with_names_no_private_run(lab):
    run_id = lab.training.start(ANN, of(upload(lab, ANN)), "ann's secret plan")
    labels = [lab.training.busy_with(ANN), lab.training.busy_with(BOB), lab.training.busy_with(HOST)]
    lab.training.stop(ANN, run_id)
    assert labels == ["run ann's secret plan", "a visitor's private run", "run ann's secret plan"]


# Uploads


def test_an_upload_is_its_uploaders_alone(lab):
    source = upload(lab, ANN)
    assert lab.datasets.preview(ANN, {"data": {"source": source}})["rows_loaded"] == 40
    assert lab.datasets.preview(HOST, {"data": {"source": source}})["rows_loaded"] == 40
    detour = f"{lab.uploads.folder}/{BOB.id}/../{ANN.id}/{Path(source).name}"
    for path in (source, detour, os.path.relpath(source)):
        for viewer in (BOB, ANONYMOUS):
            for call in (lab.datasets.preview, lab.datasets.summary, lab.training.start):
                with pytest.raises(DataError, match="not yours"):
                    call(viewer, {"data": {"source": path}})


def test_nothing_else_of_the_data_folder_is_a_dataset_or_a_model(lab, private):
    list(lab.evaluations.stream(ANN, private, 2))
    predictions = lab.evaluations.predictions_file(HOST, private)
    for viewer in (ANN, BOB, ANONYMOUS):
        with pytest.raises(DataError, match="not yours"):
            lab.datasets.preview(viewer, {"data": {"source": str(predictions)}})
        with pytest.raises(ModelError, match="data folder"):
            lab.configs.read(viewer, {"model": str(lab.store.folder(private) / "adapter")})


def test_on_a_machine_of_ones_own_other_files_can_be_named_and_on_a_hosted_lab_they_cannot(lab, tmp_path, monkeypatch):
    file = tmp_path / "own.json"
    file.write_text(json.dumps([{"instruction": "a", "input": "", "output": "b"}] * 20))
    assert lab.datasets.preview(ANN, {"data": {"source": str(file)}})["rows_loaded"] == 20
    monkeypatch.setattr(lab.configs, "local_paths", False)
    with pytest.raises(DataError, match="hosted"):
        lab.datasets.preview(ANN, {"data": {"source": str(file)}})
    assert lab.datasets.preview(ANN, {"data": {"source": upload(lab, ANN)}})["rows_loaded"] == 40


def test_who_is_nobody_cannot_upload(lab):
    with pytest.raises(DataError, match="reload the page"):
        upload(lab, ANONYMOUS)


@pytest.mark.slow
def test_uploads_and_private_runs_go_after_a_time_and_what_is_shared_stays(lab, private):
    old, new = upload(lab, ANN), upload(lab, BOB)
    shared = lab.training.start(BOB, of(upload(lab, BOB)), "shared")
    public = lab.training.start(BOB, smoke(), "public")
    for run_id in (shared, public):
        assert lab.training.wait(run_id, PATIENCE).status == "finished"
    lab.runs.share(BOB, shared, True)
    long_ago = time.time() - (lab.housekeeping.keep_hours + 1) * HOUR
    os.utime(old, (long_ago, long_ago))
    for run_id in (private, shared, public):
        lab.store.update(run_id, ended=long_ago)
    lab.housekeeping.remove_expired()
    assert not Path(old).exists()
    assert Path(new).exists()
    assert {run["name"] for run in lab.runs.summaries(HOST)} == {"shared", "public"}
    assert not (lab.data_dir / "runs" / private).exists()


def test_the_upload_of_a_run_that_waits_is_kept(lab):
    source = upload(lab, ANN)
    long_ago = time.time() - (lab.housekeeping.keep_hours + 1) * HOUR
    os.utime(source, (long_ago, long_ago))
    run = lab.store.create("waits", of(source).to_dict(), ANN.id, ANN.id)
    lab.housekeeping.remove_expired()
    assert Path(source).exists()
    assert lab.runs.is_visible(ANN, run.id)


@pytest.mark.parametrize("text", ["0", "-1", "a day", "1.5", "²"])
def test_a_time_that_is_none_is_an_error_at_start(tmp_path, monkeypatch, text):
    monkeypatch.setenv("LAB_KEEP_UPLOADS_HOURS", text)
    with pytest.raises(SettingsError, match="LAB_KEEP_UPLOADS_HOURS"), opened(tmp_path):
        pass
    monkeypatch.delenv("LAB_KEEP_UPLOADS_HOURS")
    with opened(tmp_path) as lab:
        assert lab.housekeeping.keep_hours == 168


def test_a_run_in_the_bin_comes_back_for_its_owner_only(lab, private):
    assert lab.runs.trashed(HOST) == []
    lab.runs.trash(ANN, private)
    for viewer in (ANN, HOST):
        (entry,) = lab.runs.trashed(viewer)
        assert (entry["id"], entry["name"]) == (private, "ann's secret plan")
        assert HOUR - PATIENCE < entry["seconds_left"] <= HOUR
    assert lab.runs.trashed(BOB) == lab.runs.trashed(ANONYMOUS) == []
    with pytest.raises(NotYoursError):
        lab.runs.restore(BOB, private)
    lab.runs.restore(ANN, private)
    assert lab.runs.trashed(ANN) == []
    assert lab.runs.is_visible(ANN, private)
    assert not lab.runs.is_visible(BOB, private)


# Paths of this machine


def folders_in(value, lab) -> bool:
    return str(lab.data_dir) in json.dumps(value, default=str)


@pytest.mark.slow
def test_nobody_but_the_host_reads_where_an_upload_lies(lab, private, tmp_path):
    assert folders_in(lab.runs.details(HOST, private)["config"], lab)
    lab.runs.share(ANN, private, True)
    for viewer in (ANN, BOB):
        details = lab.runs.details(viewer, private)
        assert details["config"]["data"]["source"] == details["source"] == "mine.json"
        assert "model_path" not in details["facts"]
        assert lab.runs.readable_config(viewer, private) == details["config"]
        for shown in (details, lab.runs.summaries(viewer), lab.training.status(viewer, private)):
            assert not folders_in(shown, lab)
        with zipfile.ZipFile(lab.transfers.export(viewer, private, tmp_path / "shared.zip")) as archive:
            texts = [archive.read(name).decode() for name in archive.namelist() if name.endswith(("json", "md"))]
        assert "mine.json" in "".join(texts)
        assert not any(folders_in(text, lab) for text in texts)
    *_, result = lab.evaluations.stream(BOB, private, 4)
    assert result["predictions"] == "predictions.jsonl"
    assert not folders_in(lab.runs.details(BOB, private), lab)


def test_the_rows_of_a_run_are_its_owners_to_use_again(lab, private):
    source = lab.runs.config(HOST, private).data.source
    lab.runs.share(ANN, private, True)
    assert [lab.configs.may_use(viewer, source) for viewer in (ANN, BOB, HOST)] == [True, False, True]
    assert lab.configs.may_use(BOB, "bundled")


def test_a_tilde_leads_nobody_to_what_is_not_theirs(lab, monkeypatch):
    """``~`` stands for the home folder, which holds the data folder by default."""
    monkeypatch.setenv("HOME", str(lab.data_dir.parent))
    own, rows = upload(lab, ANN), lab.data_dir / "runs" / "x" / "predictions.jsonl"
    rows.parent.mkdir()
    rows.write_text(json.dumps({"instruction": "a", "output": "b"}))
    short = "~" + own.removeprefix(str(lab.data_dir.parent))
    assert [lab.configs.may_use(viewer, short) for viewer in (ANN, BOB, HOST)] == [True, False, True]
    assert not lab.configs.may_use(BOB, "~/data/runs/x/predictions.jsonl")
    assert lab.uploads.owner(short) == ANN.id
    assert lab.datasets.preview(ANN, of(short))["rows_loaded"] == 40
    upload(lab, ANN, rows=50)
    (lab.data_dir.parent / "mine.json").replace(own)
    assert lab.datasets.preview(ANN, of(short))["rows_loaded"] == 50


def test_an_upload_that_was_removed_is_missed_without_its_path(lab, private):
    Path(lab.runs.config(HOST, private).data.source).unlink()
    lab.datasets._splits.clear()
    with pytest.raises(DataError, match="That upload was removed") as refused:
        lab.answerers.held_out_row(ANN, private, 0)
    assert not folders_in(str(refused.value), lab)


def test_other_peoples_folders_are_shown_by_their_last_name_only(lab):
    config = of("bundled").to_dict()
    config["model"], config["data"]["source"] = "/srv/models/mine", "/srv/rows.csv"
    readable = lab.runs.readable_config(ANN, lab.store.create("x", config).id)
    assert (readable["model"], readable["data"]["source"]) == ("mine", "rows.csv")
    public = of("hub:some/rows").to_dict()
    assert lab.runs.readable_config(ANN, lab.store.create("y", public).id) == public
