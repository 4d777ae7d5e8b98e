"""What is a visitor's own: their uploads, the runs made of them, and what those runs say."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path

import pytest
from labs import PATIENCE, opened, smoke

from instruct_tune.config.viewer import ANONYMOUS, HOST, Viewer, Visitors, known_by
from instruct_tune.data.splits import Example
from instruct_tune.errors import DataError, ModelError, NotFoundError, NotYoursError, SettingsError

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")

ANN, BOB = known_by("ann's own secret"), known_by("bob's own secret")
HOUR = 3600


@pytest.fixture
def lab(tmp_path):
    with opened(tmp_path / "data") as lab:
        yield lab


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/lab")
    with opened(tmp_path / "data") as lab:
        yield lab


def upload(lab, viewer, rows: int = 40) -> str:
    file = lab.data_dir.parent / "mine.json"
    file.write_text(json.dumps([{"instruction": f"Say {n}", "input": "", "output": str(n)} for n in range(rows)]))
    return str(lab.keep_upload(file, viewer))


def of(source: str):
    return smoke(data={"source": source})


@pytest.fixture
def private(lab):
    """A finished run of Ann's, made of her upload."""
    run_id = lab.start_run(of(upload(lab, ANN)), "ann's secret plan", ANN)
    assert lab.wait(run_id, PATIENCE).status == "finished"
    return run_id


# Who is who


def test_a_secret_makes_a_visitor_and_the_history_does_not_hold_it(lab):
    assert known_by("ann's own secret") == ANN != BOB
    assert ANN.id not in ("ann's own secret", None)
    lab.start_run(smoke(), "", ANN)
    assert b"ann's own secret" not in (lab.data_dir / "lab.sqlite").read_bytes()


@pytest.mark.parametrize("secret", ["", "short", "x" * 201, None, 5, ["a" * 20], {}])
def test_what_could_be_guessed_is_no_secret(secret):
    with pytest.raises(DataError, match="16 to 200"):
        known_by(secret)


def test_a_page_is_its_visitors_from_arrival_on():
    visitors = Visitors()
    assert visitors.of("page") == visitors.of(None) == ANONYMOUS
    assert visitors.arrive("page", "ann's own secret") == ANN
    assert visitors.of("page") == ANN
    assert visitors.of("another") == ANONYMOUS
    assert not visitors.admit("page", "")
    assert not visitors.admit("page", "any")


def test_the_hosts_token_makes_a_page_the_hosts_and_no_other():
    visitors = Visitors("the host's token")
    visitors.arrive("page", "ann's own secret")
    for wrong in ("", "the host's toke", None, 5, "ü"):
        assert not visitors.admit("page", wrong)
    assert not visitors.admit(None, "the host's token")
    assert not visitors.of("page").host
    assert visitors.admit("page", "the host's token")
    assert visitors.of("page") == Viewer(ANN.id, host=True)
    visitors.arrive("page", "ann's own secret")
    assert visitors.of("page").host
    assert visitors.of("another") == visitors.of(None) == ANONYMOUS


# Private runs


def everything_about(lab, run_id):
    """Every way to look at a run or to touch it."""
    return [
        lambda who: lab.visible_run(run_id, who), lambda who: lab.run_config(run_id, who),
        lambda who: lab.show_run(run_id, who), lambda who: lab.run_status(run_id, who),
        lambda who: lab.run_metrics(run_id, viewer=who), lambda who: lab.run_events(run_id, viewer=who),
        lambda who: lab.run_samples(run_id, who), lambda who: lab.run_evaluations(run_id, who),
        lambda who: lab.run_result(run_id, who), lambda who: lab.predictions(run_id, viewer=who),
        lambda who: lab.predictions_file(run_id, viewer=who), lambda who: lab.verdict(run_id, viewer=who),
        lambda who: lab.held_out_count_of(run_id, who),
        lambda who: lab.held_out_row_of(run_id, 0, who), lambda who: lab.has_adapter(run_id, who),
        lambda who: lab.evaluation_progress(run_id, who), lambda who: list(lab.compare(run_id, "Hi", viewer=who)),
        lambda who: lab.answer_losses(run_id, Example("Hi", "", "Ho"), who),
        lambda who: lab.adapter_effect(run_id, who),
        lambda who: lab.generate(run_id, [{"instruction": "Hi"}], viewer=who),
        lambda who: list(lab.evaluate(run_id, 2, viewer=who)), lambda who: lab.start_evaluation(run_id, 2, viewer=who),
        lambda who: lab.export_run(run_id, lab.data_dir / "out.zip", who),
        lambda who: lab.export_merged(run_id, lab.data_dir / "out.zip", viewer=who),
        lambda who: lab.plot_losses(run_id, lab.data_dir / "x.png", who),
        lambda who: lab.plot_scores(run_id, lab.data_dir / "x.png", viewer=who),
        lambda who: lab.rename_run(run_id, "x", who),
        lambda who: lab.resume_run(run_id, who), lambda who: lab.stop_run(run_id, viewer=who),
        lambda who: lab.pause_run(run_id, who),
        lambda who: lab.share_run(run_id, True, who), lambda who: lab.last_metric(run_id, "probe", who),
        lambda who: lab.has_saved_adapter(run_id, who), lambda who: lab.bin_run(run_id, who),
        lambda who: lab.run_traceback(run_id, who), lambda who: lab.told_config(run_id, who),
        lambda who: lab.annotate_run(run_id, "x", "", who), lambda who: lab.unfinished_evaluations(run_id, who),
        lambda who: lab.can_join(run_id, who),
        lambda who: list(lab.compare_many([{"run_id": "base"}, {"run_id": run_id}], "Hi", viewer=who)),
        lambda who: list(lab.compare_rows([{"run_id": "base"}, {"run_id": run_id}], [("Hi", "")], viewer=who)),
        lambda who: lab.delete_run(run_id, who),
    ]  # fmt: skip


def test_a_run_made_of_an_upload_does_not_exist_for_others(lab, private):
    for who in (BOB, ANONYMOUS):
        assert lab.list_runs(who) == []
        assert not lab.sees_run(private, who)
        for look in everything_about(lab, private):
            with pytest.raises(NotFoundError) as there:
                look(who)
            # In the very words for a run that there is not.
            with pytest.raises(NotFoundError) as nowhere:
                lab.visible_run("20260101-000000-0000", who)
            assert str(there.value).replace(private, "") == str(nowhere.value).replace("20260101-000000-0000", "")
    assert lab.store.get(private).name == "ann's secret plan"
    for who in (ANN, HOST):
        assert [run["id"] for run in lab.list_runs(who)] == [private]
        assert lab.held_out_row_of(private, 0, who).instruction.startswith("Say")
        assert list(lab.compare(private, "Hi", viewer=who))[-1]["done"]


def test_every_lab_method_about_a_run_is_in_the_list_above(lab, private):
    import inspect

    told = {
        name
        for name, method in inspect.getmembers(type(lab), inspect.isfunction)
        if {"run_id", "viewer"} <= set(inspect.signature(method).parameters) and not name.startswith("_")
    }
    source = inspect.getsource(everything_about)
    asked = {name for name in told if f"lab.{name}(" in source}
    # ``sees_run`` and ``ready_adapter`` answer or are asked through the others; these three have tests of their own.
    assert told - asked == {"sees_run", "ready_adapter", "changeable_run", "sharing", "stop_evaluation", "unbin_run"}


def test_sharing_shows_a_run_to_everyone_until_it_is_taken_back(lab, private):
    lab.share_run(private, True, ANN)
    assert [run["id"] for run in lab.list_runs(BOB)] == [private]
    assert lab.held_out_row_of(private, 0, BOB).instruction.startswith("Say")
    assert list(lab.compare(private, "Hi", viewer=ANONYMOUS))[-1]["done"]
    with pytest.raises(NotYoursError, match="only they can share"):
        lab.share_run(private, False, BOB)
    # Its file is still Ann's alone.
    with pytest.raises(DataError, match="not yours"):
        lab.start_run(lab.run_config(private, BOB), "", BOB)
    lab.share_run(private, False, ANN)
    assert lab.list_runs(BOB) == []


def test_only_who_may_share_is_offered_it(lab, private):
    public = lab.store.create("public", smoke().to_dict()).id
    assert [lab.sharing(private, who) for who in (ANN, BOB, HOST)] == [False, None, False]
    lab.share_run(private, True, ANN)
    assert [lab.sharing(private, who) for who in (ANN, BOB, HOST)] == [True, None, True]
    assert [lab.sharing(run_id, ANN) for run_id in (public, "nobody", None)] == [None, None, None]


def test_runs_on_public_data_are_the_labs(lab):
    run_id = lab.start_run(smoke(), "for all", ANN)
    assert [run["name"] for run in lab.list_runs(BOB)] == ["for all"]
    assert [run["yours"] for run in lab.list_runs(BOB) + lab.list_runs(ANN)] == [False, True]
    with pytest.raises(DataError, match="public data"):
        lab.share_run(run_id, False, ANN)


def test_what_the_lab_is_busy_with_names_no_private_run(lab):
    run_id = lab.start_run(of(upload(lab, ANN)), "ann's secret plan", ANN)
    told = [lab.busy_with(ANN), lab.busy_with(BOB), lab.busy_with(HOST)]
    lab.stop_run(run_id, viewer=ANN)
    assert told == ["run ann's secret plan", "a visitor's private run", "run ann's secret plan"]


# Uploads


def test_an_upload_is_its_uploaders_alone(lab):
    source = upload(lab, ANN)
    assert lab.preview({"data": {"source": source}}, viewer=ANN)["rows_loaded"] == 40
    assert lab.preview({"data": {"source": source}})["rows_loaded"] == 40
    detour = f"{lab.uploads}/{BOB.id}/../{ANN.id}/{Path(source).name}"
    for path in (source, detour, os.path.relpath(source)):
        for who in (BOB, ANONYMOUS):
            for ask in (lab.preview, lab.data, lab.start_run):
                with pytest.raises(DataError, match="not yours"):
                    ask({"data": {"source": path}}, viewer=who)


def test_nothing_else_of_the_data_folder_is_a_dataset_or_a_model(lab, private):
    list(lab.evaluate(private, 2, viewer=ANN))
    predictions = lab.predictions_file(private)
    for who in (ANN, BOB, ANONYMOUS):
        with pytest.raises(DataError, match="not yours"):
            lab.preview({"data": {"source": str(predictions)}}, viewer=who)
        with pytest.raises(ModelError, match="data folder"):
            lab.config({"model": str(lab.store.folder(private) / "adapter")}, who)


def test_on_a_machine_of_ones_own_other_files_can_be_named_and_on_a_hosted_lab_they_cannot(lab, tmp_path, monkeypatch):
    file = tmp_path / "own.json"
    file.write_text(json.dumps([{"instruction": "a", "input": "", "output": "b"}] * 20))
    assert lab.preview({"data": {"source": str(file)}}, viewer=ANN)["rows_loaded"] == 20
    monkeypatch.setattr(lab, "local_paths", False)
    with pytest.raises(DataError, match="hosted"):
        lab.preview({"data": {"source": str(file)}}, viewer=ANN)
    assert lab.preview({"data": {"source": upload(lab, ANN)}}, viewer=ANN)["rows_loaded"] == 40


def test_whoever_is_nobody_cannot_upload(lab):
    with pytest.raises(DataError, match="reload the page"):
        upload(lab, ANONYMOUS)


def test_uploads_and_private_runs_go_after_a_time_and_what_is_shared_stays(lab, private):
    old, new = upload(lab, ANN), upload(lab, BOB)
    shared = lab.start_run(of(upload(lab, BOB)), "shared", BOB)
    public = lab.start_run(smoke(), "public", BOB)
    for run_id in (shared, public):
        assert lab.wait(run_id, PATIENCE).status == "finished"
    lab.share_run(shared, True, BOB)
    long_ago = time.time() - (lab.keep_uploads_hours + 1) * HOUR
    os.utime(old, (long_ago, long_ago))
    for run_id in (private, shared, public):
        lab.store.update(run_id, ended=long_ago)
    lab.remove_old_uploads()
    assert not Path(old).exists()
    assert Path(new).exists()
    assert {run["name"] for run in lab.list_runs()} == {"shared", "public"}
    assert not (lab.data_dir / "runs" / private).exists()


def test_the_upload_of_a_run_that_waits_is_kept(lab):
    source = upload(lab, ANN)
    long_ago = time.time() - (lab.keep_uploads_hours + 1) * HOUR
    os.utime(source, (long_ago, long_ago))
    run = lab.store.create("waits", of(source).to_dict(), ANN.id, ANN.id)
    lab.remove_old_uploads()
    assert Path(source).exists()
    assert lab.sees_run(run.id, ANN)


@pytest.mark.parametrize("text", ["0", "-1", "a day", "1.5", "²"])
def test_a_time_that_is_none_is_said_at_start(tmp_path, monkeypatch, text):
    monkeypatch.setenv("LAB_KEEP_UPLOADS_HOURS", text)
    with pytest.raises(SettingsError, match="LAB_KEEP_UPLOADS_HOURS"), opened(tmp_path):
        pass
    monkeypatch.delenv("LAB_KEEP_UPLOADS_HOURS")
    with opened(tmp_path) as lab:
        assert lab.keep_uploads_hours == 168


def test_a_run_in_the_bin_comes_back_for_its_owner_only(lab, private):
    assert lab.binned_runs() == []
    lab.bin_run(private, ANN)
    for who in (ANN, HOST):
        (told,) = lab.binned_runs(who)
        assert (told["id"], told["name"]) == (private, "ann's secret plan")
        assert HOUR - PATIENCE < told["seconds_left"] <= HOUR
    assert lab.binned_runs(BOB) == lab.binned_runs(ANONYMOUS) == []
    with pytest.raises(NotYoursError):
        lab.unbin_run(private, BOB)
    lab.unbin_run(private, ANN)
    assert lab.binned_runs(ANN) == []
    assert lab.sees_run(private, ANN)
    assert not lab.sees_run(private, BOB)


# Who may stop


def test_on_a_hosted_lab_only_who_started_a_run_and_the_host_may_stop_it(hosted):
    run_id = hosted.start_run(smoke(), "ann's", ANN)
    for who in (BOB, ANONYMOUS):
        for act in (hosted.stop_run, hosted.delete_run, hosted.resume_run):
            with pytest.raises(NotYoursError, match="somebody else"):
                act(run_id, viewer=who)
        with pytest.raises(NotYoursError):
            hosted.rename_run(run_id, "mine", who)
    assert hosted.stop_run(run_id, viewer=ANN) in ("stopping", "stopped")
    hosted.wait(run_id, PATIENCE)
    hosted.delete_run(run_id, HOST)


def test_on_a_hosted_lab_who_started_a_run_and_the_host_may_restore_it(hosted):
    run_id = hosted.start_run(smoke(), "ann's", ANN)
    hosted.stop_run(run_id, viewer=ANN)
    hosted.wait(run_id, PATIENCE)
    hosted.bin_run(run_id, ANN)
    assert hosted.binned_runs(BOB) == []
    assert [run["id"] for run in hosted.binned_runs(ANN)] == [run["id"] for run in hosted.binned_runs(HOST)] == [run_id]


def test_what_a_script_started_without_a_name_is_anybodys_to_stop(hosted):
    run_id = hosted.start_run(smoke(), "", ANONYMOUS)
    assert hosted.stop_run(run_id, viewer=ANONYMOUS) in ("stopping", "stopped")


def test_on_a_machine_of_ones_own_anybody_may_stop(lab, monkeypatch):
    run_id = lab.start_run(smoke(), "ann's", ANN)
    assert lab.stop_run(run_id, viewer=BOB) in ("stopping", "stopped")


def test_a_lab_with_a_hosts_token_is_a_hosted_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_ADMIN_TOKEN", "the host's token")
    with opened(tmp_path) as lab:
        run_id = lab.start_run(smoke(), "ann's", ANN)
        with pytest.raises(NotYoursError):
            lab.stop_run(run_id, viewer=BOB)
        lab.visitors.arrive("bob's page", "bob's own secret")
        assert lab.visitors.admit("bob's page", "the host's token")
        assert lab.stop_run(run_id, viewer=lab.visitors.of("bob's page")) in ("stopping", "stopped")


def test_only_who_asked_for_an_evaluation_may_stop_it(hosted):
    run_id = hosted.start_run(smoke(), "ann's", ANN)
    assert hosted.wait(run_id, PATIENCE).status == "finished"
    evaluation = hosted.start_evaluation(run_id, generation={"max_new_tokens": 1500}, viewer=ANN)
    while not hosted.evaluating:
        time.sleep(0.01)
    with pytest.raises(NotYoursError):
        hosted.stop_evaluation(run_id, BOB)
    hosted.stop_evaluation(run_id, ANN)
    assert evaluation.exception(PATIENCE) is not None
    assert hosted.run_evaluations(run_id) == []


def test_a_traceback_is_for_who_started_the_run_and_the_host(hosted, monkeypatch):
    run_id = hosted.store.create("ann's", smoke().to_dict(), started_by=ANN.id).id
    hosted.store.update(run_id, status="failed", message="So it is.", traceback="File /home/ann, line 1")
    assert [hosted.run_traceback(run_id, who) for who in (BOB, ANONYMOUS)] == [None, None]
    assert [hosted.run_traceback(run_id, who) for who in (ANN, HOST)] == ["File /home/ann, line 1"] * 2
    assert "/home/ann" not in str(hosted.show_run(run_id, BOB))
    monkeypatch.setattr(hosted, "strangers", False)
    assert hosted.run_traceback(run_id, BOB) == "File /home/ann, line 1"


# What is told of this machine


def folders_in(told, lab) -> bool:
    return str(lab.data_dir) in json.dumps(told, default=str)


def test_nobody_but_the_host_reads_where_an_upload_lies(lab, private, tmp_path):
    assert folders_in(lab.show_run(private, HOST)["config"], lab)
    lab.share_run(private, True, ANN)
    for who in (ANN, BOB):
        told = lab.show_run(private, who)
        assert told["config"]["data"]["source"] == told["source"] == "mine.json"
        assert "model_path" not in told["facts"]
        assert lab.told_config(private, who) == told["config"]
        for shown in (told, lab.list_runs(who), lab.run_status(private, who)):
            assert not folders_in(shown, lab)
        with zipfile.ZipFile(lab.export_run(private, tmp_path / "shared.zip", who)) as archive:
            texts = [archive.read(name).decode() for name in archive.namelist() if name.endswith(("json", "md"))]
        assert "mine.json" in "".join(texts)
        assert not any(folders_in(text, lab) for text in texts)
    *_, found = lab.evaluate(private, 4, viewer=BOB)
    assert found["predictions"] == "predictions.jsonl"
    assert not folders_in(lab.show_run(private, BOB), lab)


def test_the_rows_of_a_run_are_its_owners_to_use_again(lab, private):
    source = lab.run_config(private).data.source
    lab.share_run(private, True, ANN)
    assert [lab.may_use(source, who) for who in (ANN, BOB, HOST)] == [True, False, True]
    assert lab.may_use("bundled", BOB)


def test_a_tilde_leads_nobody_to_what_is_not_theirs(lab, monkeypatch):
    """A home folder is written so, and the data folder lies in one by default."""
    monkeypatch.setenv("HOME", str(lab.data_dir.parent))
    own, rows = upload(lab, ANN), lab.data_dir / "runs" / "x" / "predictions.jsonl"
    rows.parent.mkdir()
    rows.write_text(json.dumps({"instruction": "a", "output": "b"}))
    short = "~" + own.removeprefix(str(lab.data_dir.parent))
    assert [lab.may_use(short, who) for who in (ANN, BOB, HOST)] == [True, False, True]
    assert not lab.may_use("~/data/runs/x/predictions.jsonl", BOB)
    assert lab.upload_owner(short) == ANN.id
    assert lab.preview(of(short), viewer=ANN)["rows_loaded"] == 40
    upload(lab, ANN, rows=50)
    (lab.data_dir.parent / "mine.json").replace(own)
    assert lab.preview(of(short), viewer=ANN)["rows_loaded"] == 50


def test_an_upload_that_was_removed_is_missed_without_its_path(lab, private):
    Path(lab.run_config(private).data.source).unlink()
    lab._datasets.clear()
    with pytest.raises(DataError, match="That upload was removed") as refused:
        lab.held_out_row_of(private, 0, ANN)
    assert not folders_in(str(refused.value), lab)


def test_other_peoples_folders_are_told_by_their_last_name_only(lab):
    config = of("bundled").to_dict()
    config["model"], config["data"]["source"] = "/srv/models/mine", "/srv/rows.csv"
    told = lab.told_config(lab.store.create("x", config).id, ANN)
    assert (told["model"], told["data"]["source"]) == ("mine", "rows.csv")
    public = of("hub:some/rows").to_dict()
    assert lab.told_config(lab.store.create("y", public).id, ANN) == public
