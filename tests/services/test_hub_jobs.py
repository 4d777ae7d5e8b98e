"""A run as a job on a toy Hub: each state, each fault, and a lab that is killed meanwhile; the token is nowhere."""

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from at_night import at_night_after
from huggingface_hub import constants
from huggingface_hub.utils import _http
from job_results import ADAPTER, CONFIG, result_files
from labs import PATIENCE, cache_for, opened, smoke, until, write_rows
from toy_hub import ToyHub, serving_hub
from toy_uploads import Account, Fault

from instruct_tune.cli.commands import main
from instruct_tune.config.viewer import ANONYMOUS, HOST, known_by
from instruct_tune.errors import BusyError, DataError, HubError, LabError, ModelError, NotFoundError, NotYoursError
from instruct_tune.pretrained import hub, hub_faults, hub_jobs
from instruct_tune.pretrained.hub_token import HubToken, acting_for, for_jobs
from instruct_tune.services import hub_job_follower
from instruct_tune.store import hub_jobs as stored

pytestmark = pytest.mark.usefixtures("one_thread")

ANN, READER, HOSTS = "hf_of_ann_0123", "hf_reader_0123", "hf_of_the_host_0123"
OWN = HubToken(ANN)
PERSON, BOB = known_by("the secret of a browser"), known_by("the secret of another")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("jobs") / "data") as lab:
            yield lab


@pytest.fixture
def toy(monkeypatch):
    """A Hub of the test's own; the lab looks at its jobs without waiting."""
    toy = ToyHub({}, accounts={ANN: Account("ann"), READER: Account("ann", role="read"), HOSTS: Account("host")})
    monkeypatch.setenv("HF_TOKEN", HOSTS)
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(hub_faults, "USUAL_PAUSE", 0.1)
    monkeypatch.setattr(hub_job_follower, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(hub, "_last", (-hub.REMEMBER_SECONDS, False))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving_hub(toy) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield toy
    assert HOSTS not in {token for _, token in toy.uploads.seen}


def started(lab, viewer=PERSON, own=OWN, run_id=None, config=CONFIG, flavor="l4x1", minutes=60, agreed=0.80):
    return lab.hub_jobs.start(viewer, run_id, flavor, minutes, agreed, own, config)


def until_status(lab, job, status, viewer=PERSON):
    until(lambda: lab.hub_jobs.get(viewer, job["job_id"])["status"] == status, status)
    return lab.hub_jobs.get(viewer, job["job_id"])


def ended(lab, job, viewer=PERSON):
    return list(lab.hub_jobs.stream(viewer, job["job_id"]))[-1]


def move(toy, stage, message=None):
    toy.jobs.all[-1].message = message
    toy.jobs.all[-1].stage = stage


@pytest.fixture
def running(lab, toy):
    """A job that runs, which the test ends."""
    job = started(lab)
    until_status(lab, job, "queued")
    move(toy, "RUNNING")
    until_status(lab, job, "running")
    yield job
    if not ended_already(lab, job):
        move(toy, "CANCELED")
        ended(lab, job)


def ended_already(lab, job):
    return lab.hub_jobs.get(PERSON, job["job_id"])["ended"]


def refusal(function, *arguments, error=LabError, **options):
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    assert "hf_" not in str(caught.value)
    return str(caught.value)


def test_the_price_is_told_and_has_to_be_agreed_to(lab, toy):
    assert [(each.name, each.words) for each in lab.hub_jobs.prices(OWN)] == [
        ("cpu-basic", "CPU Basic, 2 vCPU, 16 GB"), ("l4x1", "1x Nvidia L4, 24 GB"),
    ]  # fmt: skip
    assert lab.hub_jobs.quote(OWN, "l4x1", 60) == 0.80
    assert lab.hub_jobs.quote(OWN, "cpu-basic", 1) == 0.01, "rounded up"
    for agreed in (0.79, 0, None, "0.80", float("nan"), True):
        text = refusal(started, lab, agreed=agreed, error=DataError)
        assert text == "l4x1 for 60 minutes costs at most $0.80: agree to that first."
    toy.jobs.hardware[1]["unitCostUSD"] = 0.02
    assert "costs at most $1.20" in refusal(started, lab, error=DataError)
    toy.jobs.hardware[1]["unitLabel"] = "fortnight"
    assert "no machine of the Hub: choose one of cpu-basic" in refusal(started, lab, error=DataError)
    assert (toy.jobs.all, toy.models) == ([], {})


@pytest.mark.parametrize("minutes", [0, -1, 10_081, 1.5, "60", None, True])
def test_a_limit_that_is_none_is_refused(lab, minutes):
    assert "minutes must be a whole number" in refusal(lab.hub_jobs.quote, OWN, "l4x1", minutes, error=DataError)


def test_what_is_sent(lab, toy):
    job = started(lab)
    until_status(lab, job, "queued")
    [sent] = toy.jobs.all
    repo = f"ann/instruction-tuning-{job['job_id']}"
    assert sent.spec["volumes"] == [
        {"type": "model", "source": repo, "mountPath": "/lab", "revision": toy.uploads.commits[repo][-1],
         "readOnly": True},
    ]  # fmt: skip
    assert (sent.spec["flavor"], sent.spec["timeoutSeconds"], sent.secrets) == ("l4x1", 3600, {"HF_TOKEN": ANN})
    assert sent.spec["command"][-1].endswith("cd /work && uv run run.py")
    assert sent.spec["labels"]["instruction-tuning-lab"] == job["job_id"]
    assert repo in toy.uploads.private
    script = toy.models[repo]["run.py"].decode()
    compile(script, "run.py", "exec")
    assert "\ntrainer.add_callback(clock)\ntrainer.train()\n" in script
    assert script.startswith("# /// script\n")
    assert {token for _, token in toy.uploads.seen} == {ANN, None}
    move(toy, "CANCELED")
    ended(lab, job)


def test_it_is_followed_from_the_queue_to_its_failure(lab, toy):
    job = started(lab)
    queued = until_status(lab, job, "queued")
    assert (queued["followed"], queued["at_most_usd"], queued["url"][-29:]) == (True, 0.80, f"/ann/{1:024x}")
    toy.jobs.all[-1].lines = ["step 1 of 4: loss 3.5", f"the token is {ANN} <b>", "x" * 600]
    move(toy, "RUNNING", "Pulling the image")
    until(lambda: len(lab.hub_jobs.get(PERSON, job["job_id"])["log"]) == 3, "the log")
    now = lab.hub_jobs.get(PERSON, job["job_id"])
    assert now["log"] == ["step 1 of 4: loss 3.5", "the token is … <b>", "x" * 500]
    assert now["message"] == "It runs. Pulling the image"
    move(toy, "ERROR", f"exit code 1 of {ANN}")
    last = ended(lab, job)
    assert (last["status"], last["ended"], last["followed"], last["brought"]) == ("failed", True, False, None)
    assert last["message"].endswith("stays there. exit code 1 of …")


def test_it_is_cancelled(lab, running, toy):
    lab.hub_jobs.cancel(PERSON, running["job_id"], OWN)
    assert ended(lab, running)["status"] == "cancelled"
    lab.hub_jobs.cancel(PERSON, running["job_id"], OWN)


def test_one_that_is_not_sent_yet_is_cancelled_for_nothing(lab, toy):
    held = threading.Event()
    toy.uploads.faults = [Fault("/commit/main", None, hold=held)]
    job = started(lab)
    until(lambda: any("/commit/" in each for each in toy.requests), "the commit")
    lab.hub_jobs.cancel(PERSON, job["job_id"], OWN)
    held.set()
    assert ended(lab, job)["status"] == "cancelled"
    assert toy.jobs.all == []


def test_one_that_the_hub_knows_no_more_is_lost(lab, running, toy):
    toy.jobs.all.clear()
    last = ended(lab, running)
    assert last["status"] == "lost"
    assert "The Hub knows this job no more" in last["message"]


def test_a_log_that_is_not_there_ends_nothing(lab, running, toy):
    toy.uploads.faults = [Fault("/logs", 404, 3)]
    until(lambda: toy.uploads.faults[0].times == 0, "three requests for the log")
    move(toy, "CANCELED")
    assert ended(lab, running)["status"] == "cancelled"


BEFORE = {
    "unknown token": (Fault("/whoami-v2", 401), "The Hub does not know this token"),
    "fault of the Hub": (Fault("/jobs/hardware", 500), r"a fault of its own at the moment \(500\): try again"),
    "too many": (Fault("/whoami-v2", 429, 9, {"Retry-After": "3600"}), "a pause of 3,600 seconds.*try again"),
    "cut": (Fault("/whoami-v2"), "The connection to the Hub was lost: try again"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_a_fault_before_anything_is_sent_is_a_sentence(lab, toy, name):
    fault, sentence = BEFORE[name]
    toy.uploads.faults = [fault]
    with pytest.raises(HubError, match=sentence):
        started(lab)
    assert toy.models == {}


SENDING = {
    "no credit": (Fault("POST /api/jobs/ann", 402), "This account has no credit for the job: add some at https://"),
    "no permission": (Fault("POST /api/jobs/ann", 403), "This token may not run jobs"),
    "no such place": (Fault("POST /api/jobs/ann", 404), "The Hub does not know this job"),
    "too many": (Fault("POST /api/jobs/ann", 429, 9, {"Retry-After": "3600"}), "a pause of 3,600 seconds"),
    "fault of the Hub": (Fault("POST /api/jobs/ann", 500), "a fault of its own at the moment (500)"),
    "lost": (Fault("POST /api/jobs/ann"), "The connection to the Hub was lost"),
    "nothing may be written": (Fault("/repos/create", 403), "This token may not write to ann/instruction-tuning-"),
    "cut in the script": (Fault("/commit/main"), "The connection to the Hub was lost: start the job again"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", at_night_after(4, SENDING))
def test_one_that_is_refused_costs_nothing_and_the_second_try_has_the_same_repository(lab, toy, name, run_of_a_model):
    fault, sentence = SENDING[name]
    toy.uploads.faults = [fault]
    job = ended(lab, started(lab, run_id=run_of_a_model))
    assert job["status"] == "not started"
    assert job["message"].startswith("It was not started, and costs nothing. ")
    assert sentence in job["message"]
    assert toy.jobs.all == []
    toy.uploads.faults = []
    again = started(lab, run_id=run_of_a_model)
    assert again["repo"] == job["repo"]
    until_status(lab, again, "queued")
    assert len(toy.jobs.all) == 1
    move(toy, "CANCELED")
    ended(lab, again)


@pytest.fixture(scope="module")
def run_of_a_model(lab):
    """A stored run of a model of the Hub, which was never trained."""
    return lab.store.create("tulip", smoke(**CONFIG).to_dict()).id


def test_a_token_that_reads_alone_is_told(lab, toy):
    job = ended(lab, started(lab, own=HubToken(READER)))
    assert (job["status"], toy.models) == ("not started", {})
    assert "This token may not write to ann/instruction-tuning-" in job["message"]


def test_an_answer_that_is_lost_is_no_second_job(lab, toy, monkeypatch):
    start = hub_jobs.start

    def lose(*arguments):
        start(*arguments)
        raise hub_faults.HubFault("The connection to the Hub was lost.", passes=True)

    monkeypatch.setattr(hub_jobs, "start", lose)
    job = started(lab)
    until_status(lab, job, "queued")
    assert len(toy.jobs.all) == 1
    move(toy, "CANCELED")
    assert ended(lab, job)["status"] == "cancelled"


PASSING = [Fault("GET /api/jobs/ann/", 500, 2), Fault("GET /api/jobs/ann/", 429, 4), Fault("GET /api/jobs/ann/", 0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: str(fault.status))
def test_a_fault_that_passes_is_waited_for(lab, running, toy, fault):
    toy.uploads.faults = [fault]
    until(lambda: fault.times == 0, "the fault")
    toy.jobs.all[-1].lines = ["afterwards"]
    until(lambda: lab.hub_jobs.get(PERSON, running["job_id"])["log"] == ["afterwards"], "the log")
    now = lab.hub_jobs.get(PERSON, running["job_id"])
    assert (now["fault"], now["status"]) == ("", "running")


def test_a_log_that_is_cut_keeps_what_came_and_the_job(lab, running, toy):
    toy.jobs.cuts = 10**6
    toy.jobs.all[-1].lines = [f"line {number}" for number in range(40)]
    until(lambda: lab.hub_jobs.get(PERSON, running["job_id"])["log"], "a part of the log")
    now = lab.hub_jobs.get(PERSON, running["job_id"])
    assert 5 < len(now["log"]) < 40
    until(lambda: "was lost" in lab.hub_jobs.get(PERSON, running["job_id"])["fault"], "the fault")
    toy.jobs.cuts = 0
    until(lambda: len(lab.hub_jobs.get(PERSON, running["job_id"])["log"]) == 40, "the whole log")
    toy.jobs.cuts = 10**6
    move(toy, "ERROR")
    assert ended(lab, running)["status"] == "failed", "a log that cannot be read keeps nobody from the end"


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_taken_back_ends_the_following_until_another_is_given(lab, running, toy, status):
    toy.uploads.faults = [Fault("GET /api/jobs/ann/", status, 99)]
    last = ended(lab, running)
    assert (last["status"], last["ended"], last["followed"]) == ("running", False, False)
    assert "token" in last["fault"]
    assert "Go on finds it again" in last["message"]
    toy.uploads.faults = []
    move(toy, "ERROR")
    lab.hub_jobs.go_on(PERSON, running["job_id"], OWN)
    assert ended(lab, running)["status"] == "failed"


def finish(toy):
    """The Hub's side of a job that ends well."""
    job = toy.jobs.all[-1]
    repo = job.spec["volumes"][0]["source"]
    toy.uploads._enter(repo, {**toy.models[repo], **result_files()})
    job.stage = "COMPLETED"


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


def test_a_lab_that_was_killed_while_it_asked_finds_the_job_by_its_label(lab, running, toy, tmp_path):
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


def test_a_job_is_its_persons_alone(lab, running, toy, monkeypatch):
    monkeypatch.setattr(lab.access, "_multi_user", True)
    job_id = running["job_id"]
    assert lab.hub_jobs.jobs(PERSON)[0]["job_id"] == job_id
    for stranger in (BOB, ANONYMOUS):
        assert lab.hub_jobs.jobs(stranger) == []
        for look in (
            lambda: lab.hub_jobs.get(stranger, job_id),  # noqa: B023
            lambda: lab.hub_jobs.cancel(stranger, job_id, OWN),  # noqa: B023
            lambda: lab.hub_jobs.go_on(stranger, job_id, OWN),  # noqa: B023
            lambda: list(lab.hub_jobs.stream(stranger, "../../x")),  # noqa: B023
        ):
            assert refusal(look, error=NotFoundError) == "You have no such job: see the list of jobs for their ids."
    assert toy.jobs.all[-1].stage == "RUNNING"


def test_what_no_job_can_train_is_refused_before_the_hub_is_asked(lab, toy, monkeypatch, tmp_path):
    own = write_rows(tmp_path / "rows.json", [{"instruction": "Hi", "input": "", "output": "Ho"}] * 8)
    assert "is not on the Hub, where a job gets it" in refusal(started, lab, config=smoke(), error=ModelError)
    assert "is not on the Hub" in refusal(started, lab, config={"model": str(tmp_path)}, error=ModelError)
    assert "whose job that is" in refusal(started, lab, viewer=ANONYMOUS, error=DataError)
    gone = {**CONFIG, "data": {"source": str(tmp_path / "gone.json")}}
    assert "The rows of gone.json are gone" in refusal(started, lab, config=gone, error=DataError)
    monkeypatch.setattr(lab.access, "_multi_user", True)
    others = {**CONFIG, "data": {"source": own}}
    assert "a file of the lab's machine" in refusal(started, lab, config=others, error=NotYoursError)
    assert toy.requests == []


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
    status, told, progress = ran(*start)
    assert (status, told["at_most_usd"], told["started"]) == (0, 0.8, False)
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


def test_one_person_has_three_at_once(lab, toy):
    jobs = [started(lab) for _ in range(3)]
    assert "3 of yours: wait for one" in refusal(started, lab, error=BusyError)
    until(lambda: len(toy.jobs.all) == 3, "the jobs")
    for each in toy.jobs.all:
        each.stage = "CANCELED"
    assert {ended(lab, job)["status"] for job in jobs} == {"cancelled"}


def test_the_oldest_that_ended_are_forgotten(tmp_path, monkeypatch):
    files = stored.JobFiles(tmp_path)
    monkeypatch.setattr(stored, "MAX_KEPT", 3)
    for number, status in enumerate(["running", "done", "done", "failed", "queued"]):
        files.make_room("ann")
        files.write(stored.HubJob(f"{number}", None, "x", "ann", "ann", "ann/x", "l4x1", 1, 0.1, number, None, status))
    assert [job.id for job in files.read(["ann"])] == ["4", "3", "0"]
    (tmp_path / "hub_jobs" / "ann" / "3.json").write_text("{")
    assert [job.id for job in files.read(["ann", "bob"])] == ["4", "0"], "a damaged file hides itself alone"
    files.write(stored.HubJob("5", None, "x", "ann", "ann", "ann/x", "l4x1", 1, 0.1, 5, None, "queued"))
    with pytest.raises(BusyError, match="3 jobs have not ended"):
        files.make_room("ann")


def test_the_hosts_login_is_for_the_host_alone_and_a_sign_in_needs_the_scope(monkeypatch, lab, toy):
    monkeypatch.setenv("HF_TOKEN", HOSTS)
    assert for_jobs().secret == HOSTS
    monkeypatch.setenv("LAB_ADMIN_TOKEN", "the admin's")
    signed_in = HubToken("hf_oauth_of_ann", time.time() + 600)
    with acting_for(signed_in):
        for scopes in ("openid contribute-repos", "openid jobs"):
            monkeypatch.setenv("OAUTH_SCOPES", scopes)
            assert "A job needs your own Hugging Face account: paste a token" in refusal(for_jobs, error=HubError)
        monkeypatch.setenv("OAUTH_SCOPES", "openid contribute-repos jobs")
        assert for_jobs() is signed_in
    toy.uploads.accounts[signed_in.secret] = Account("ann")
    assert "sign-in ends before the job has to" in refusal(started, lab, own=signed_in, error=DataError)


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
    said = [caplog.text, json.dumps(lab.hub_jobs.jobs(PERSON)), repr(vars(follower))]
    said.append(json.dumps(lab.runs.details(HOST, last["brought"])))
    assert [text for text in said if ANN in text] == []
    files = [file for file in lab.data_dir.rglob("*") if file.is_file()]
    assert any(file.parent.parent.name == "hub_jobs" for file in files)
    assert [str(file) for file in files if ANN.encode() in file.read_bytes()] == []
    assert [name for name, content in toy.models[last["repo"]].items() if ANN.encode() in content] == []
