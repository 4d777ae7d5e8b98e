"""A Hub job's run comes back once, also to a lab that was killed meanwhile; the token is nowhere."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import hub_job_lab
import pytest
from hub_job_lab import ANN, BOB, OWN, PERSON, ended, finish, move, started, until_status
from job_results import ADAPTER, CONFIG
from labs import PATIENCE, opened, until, write_rows
from toy_uploads import Fault

from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import HOST
from instruct_tune.store import hub_jobs as stored

pytestmark = pytest.mark.usefixtures("one_thread")

lab, toy, running = hub_job_lab.lab, hub_job_lab.toy, hub_job_lab.running


@pytest.mark.slow
def test_its_run_comes_back_with_the_jobs_numbers_and_is_its_persons(lab, running, toy):
    finish(toy)
    last = ended(lab, running)
    assert (last["status"], last["fault"]) == ("done", "")
    run = lab.runs.details(PERSON, last["brought"])
    assert (run["name"], run["status"], run["private"]) == ("A configuration (Hub job)", "finished", True)
    metrics = {metric["kind"]: metric for metric in run["metrics"]}
    assert (metrics["train"]["loss"], metrics["bleu"]["bleu"], run["facts"]["base_bleu"]) == (3.25, 12.5, 3.5)
    adapter = lab.store.folder(last["brought"]) / "adapter" / ADAPTER
    assert adapter.read_bytes() == toy.models[last["repo"]][ADAPTER]
    assert not lab.runs.is_visible(BOB, last["brought"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault("/resolve/", 500, 3), Fault("/resolve/", 0, 2), Fault("/resolve/", 403)])
def test_results_that_cannot_be_fetched_are_fetched_later(lab, running, toy, fault):
    toy.uploads.faults = [fault]
    finish(toy)
    last = ended(lab, running)
    if fault.status == 403:
        assert (last["status"], last["ended"]) == ("arriving", False)
        lab.hub_jobs.go_on(PERSON, running["job_id"], OWN)
        last = ended(lab, running)
    assert last["status"] == "done"
    assert lab.runs.is_visible(PERSON, last["brought"])


@pytest.mark.slow
def test_two_windows_that_go_on_at_once_bring_one_run(lab, running, toy, monkeypatch):
    toy.uploads.faults = [Fault("GET /api/jobs/ann/", 401, 99)]
    ended(lab, running)
    toy.uploads.faults, before = [], {run.id for run in lab.store.all()}
    finish(toy)
    both, begin = threading.Barrier(2), lab.hub_jobs._begin

    def begin_together(*arguments):
        both.wait(PATIENCE)
        return begin(*arguments)

    monkeypatch.setattr(lab.hub_jobs, "_begin", begin_together)
    with ThreadPoolExecutor(2) as windows:
        views = list(windows.map(lambda _: lab.hub_jobs.go_on(PERSON, running["job_id"], OWN), range(2)))
    assert {view["job_id"] for view in views} == {running["job_id"]}
    assert ended(lab, running)["status"] == "done"
    until(lambda: not [each for each in threading.enumerate() if each.name == "hub-job"], "no follower is left")
    assert len({run.id for run in lab.store.all()} - before) == 1


def test_a_job_that_left_no_adapter_says_so(lab, running, toy):
    move(toy, "COMPLETED")
    last = ended(lab, running)
    assert last["status"] == "arriving"
    assert last["fault"] == f"{last['repo']} has no adapter: the job's log says what went wrong."


def killed(lab, tmp_path):
    """Another lab over what this one's disk holds at this moment, as after a crash."""
    import shutil

    shutil.copytree(lab.hub_jobs._files.folder, tmp_path / "data" / "hub_jobs")
    return opened(tmp_path / "data")


@pytest.mark.slow
def test_a_lab_that_starts_after_a_kill_finds_the_job_and_brings_it_back_once(lab, running, toy, tmp_path):
    with killed(lab, tmp_path) as later:
        [found] = [job for job in later.hub_jobs.jobs(PERSON) if job["job_id"] == running["job_id"]]
        assert (found["status"], found["followed"], found["log"]) == ("running", False, [])
        assert "Go on finds it again" in found["message"]
        finish(toy)
        later.hub_jobs.go_on(PERSON, running["job_id"], OWN)
        last = ended(later, running)
        assert last["status"] == "done"
        assert later.runs.details(PERSON, last["brought"])["metrics"][0]["loss"] == 3.25
        # Killed after the run was stored and before the job's file was.
        job = later.hub_jobs._job(PERSON, running["job_id"])
        later.hub_jobs._files.write(stored.dataclasses.replace(job, status="arriving", brought=None))
        later.hub_jobs.go_on(PERSON, running["job_id"], OWN)
        assert ended(later, running)["brought"] == last["brought"]
        assert len(later.runs.summaries(PERSON)) == len(later.runs.summaries(BOB)) + 1
    ended(lab, running)


def test_a_lab_killed_during_the_start_request_finds_the_job_by_its_label(lab, running, toy, tmp_path):
    with killed(lab, tmp_path) as later:
        job = later.hub_jobs._job(PERSON, running["job_id"])
        for status, expected in (("sending", "running"), ("starting", "not started")):
            later.hub_jobs._files.write(stored.dataclasses.replace(job, status=status, hub_id=None))
            later.hub_jobs.go_on(PERSON, running["job_id"], OWN)
            until_status(later, running, expected)
            if expected == "running":
                assert later.hub_jobs.get(PERSON, running["job_id"])["url"] == running_url(lab, running)
                toy.uploads.faults = [Fault("GET /api/jobs/ann/", 401, 99)]
                ended(later, running)
                toy.uploads.faults = []
        assert len(toy.jobs.all) == 1


def running_url(lab, job):
    return lab.hub_jobs.get(PERSON, job["job_id"])["url"]


def test_a_lab_that_closes_leaves_the_job_as_it_is(toy, tmp_path):
    with opened(tmp_path / "data") as lab:
        job = started(lab)
        until_status(lab, job, "queued")
        move(toy, "RUNNING")
        until_status(lab, job, "running")
    assert toy.jobs.all[-1].stage == "RUNNING"
    with opened(tmp_path / "data") as lab:
        assert lab.hub_jobs.get(PERSON, job["job_id"])["status"] == "running"


@pytest.mark.slow
def test_rows_of_a_file_go_along_beside_the_script(lab, toy, tmp_path):
    own = write_rows(tmp_path / "rows.json", [{"instruction": "Hi", "input": "", "output": "Ho"}] * 8)
    job = started(lab, config={**CONFIG, "data": {"source": own}})
    until_status(lab, job, "queued")
    files = toy.models[job["repo"]]
    assert files["rows.json"] == (tmp_path / "rows.json").read_bytes()
    assert b'FILE = "rows.json"' in files["run.py"]
    assert str(tmp_path).encode() not in files["run.py"]
    finish(toy)
    assert ended(lab, job)["status"] == "done"


@pytest.mark.slow
def test_the_commands_tell_the_price_start_follow_and_cancel(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", ANN)
    texts = []

    def ran(*arguments):
        status = main([*arguments, "--data-dir", str(tmp_path / "data"), "--json"])
        texts.extend(capsys.readouterr())
        return status, json.loads(texts[-2]), texts[-1]

    start = ("jobs", "start", "--set", "model=toy/tiny", "--set", "data.limit=8", "--flavor", "l4x1")
    assert ran("jobs", "machines")[1]["machines"][1] == {
        "name": "l4x1", "words": "1x Nvidia L4, 24 GB", "usd_an_hour": 0.8,
    }  # fmt: skip
    status, quote, progress = ran(*start)
    assert (status, quote["at_most_usd"], quote["started"]) == (0, 0.8, False)
    assert "at most $0.80: add --pay 0.80 to start it" in progress
    assert ran(*start, "--pay", "0.5")[:2] == (
        1, {"error": "l4x1 for 60 minutes costs at most $0.80: agree to that first.", "kind": "data"},
    )  # fmt: skip
    assert ran("jobs", "start", "RUN", "--preset", "quick", "--flavor", "l4x1")[0] == 1
    assert toy.jobs.all == []
    status, job, progress = ran(*start, "--pay", "0.8")
    assert (status, job["status"], job["started"]) == (0, "queued", True)
    assert f"follow it with: jobs follow {job['job_id']}" in progress
    assert ran("jobs", "list")[1]["jobs"][0]["status"] == "queued"
    toy.jobs.all[-1].lines = ["step 1 of 1: loss 3.2500"]
    finish(toy)
    status, done, progress = ran("jobs", "follow", job["job_id"])
    assert (status, done["status"]) == (0, "done")
    assert "step 1 of 1: loss 3.2500" in progress
    assert ran("runs", "show", done["brought"])[1]["metrics"][0]["loss"] == 3.25
    assert ran("jobs", "follow", "nobody")[0] == 1
    job = ran(*start, "--pay", "0.8")[1]
    status, ended, _ = ran("jobs", "cancel", job["job_id"])
    assert (status, ended["status"], toy.jobs.all[-1].stage) == (0, "cancelled", "CANCELED")
    toy.uploads.faults = [Fault("POST /api/jobs/ann", 402)]
    assert "has no credit for the job" in ran(*start, "--pay", "0.8")[1]["error"]
    assert ANN not in "".join(texts)


@pytest.mark.slow
def test_the_token_is_in_no_log_error_or_file(lab, running, toy, caplog):
    with caplog.at_level(logging.DEBUG):
        for name in ("huggingface_hub", "httpx2", "httpcore2", "instruct_tune"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        toy.jobs.all[-1].lines = [f"HF_TOKEN={ANN}"]
        toy.uploads.faults = [Fault("GET /api/jobs/ann/", 500), Fault("GET /api/jobs/ann/", 403)]
        ended(lab, running)
        toy.uploads.faults = [Fault("/resolve/", 500)]
        finish(toy)
        lab.hub_jobs.go_on(PERSON, running["job_id"], OWN)
        last = ended(lab, running)
    assert (last["status"], last["log"]) == ("done", ["HF_TOKEN=…"])
    assert "Request" in caplog.text, "the Hub's client logs its requests"
    follower = lab.hub_jobs._followers[running["job_id"]]
    outputs = [caplog.text, json.dumps(lab.hub_jobs.jobs(PERSON)), repr(vars(follower))]
    outputs.append(json.dumps(lab.runs.details(HOST, last["brought"])))
    assert [text for text in outputs if ANN in text] == []
    files = [file for file in lab.data_dir.rglob("*") if file.is_file()]
    assert any(file.parent.parent.name == "hub_jobs" for file in files)
    assert [str(file) for file in files if ANN.encode() in file.read_bytes()] == []
    assert [name for name, content in toy.models[last["repo"]].items() if ANN.encode() in content] == []
