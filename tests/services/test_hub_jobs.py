"""A run as a job on a toy Hub: its price, each state and each fault."""

import dataclasses
import threading

import hub_job_lab
import pytest
from at_night import at_night_after
from hub_job_lab import ANN, BOB, OWN, PERSON, READER, ended, move, refusal, started, until_status
from job_results import CONFIG
from labs import smoke, until, write_rows
from toy_uploads import Fault

from instruct_tune.config.viewer import ANONYMOUS
from instruct_tune.errors import BusyError, DataError, HubError, ModelError, NotFoundError
from instruct_tune.pretrained import hub_faults, hub_jobs
from instruct_tune.pretrained.hub_token import HubToken
from instruct_tune.store import hub_jobs as stored

pytestmark = pytest.mark.usefixtures("one_thread")

lab, toy, running = hub_job_lab.lab, hub_job_lab.toy, hub_job_lab.running


def test_a_job_starts_only_at_a_confirmed_price(lab, toy):
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


def test_a_read_only_token_is_refused(lab, toy):
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


def test_a_job_is_its_persons_alone(lab, running, toy, monkeypatch):
    monkeypatch.setattr(lab.access, "_multi_user", True)
    job_id = running["job_id"]
    # Also while they host a room, which makes them the lab's host.
    for person in (PERSON, dataclasses.replace(PERSON, host=True)):
        assert lab.hub_jobs.jobs(person)[0]["job_id"] == job_id
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


def test_an_untrainable_job_is_refused_without_a_hub_request(lab, toy, monkeypatch, tmp_path):
    own = write_rows(tmp_path / "rows.json", [{"instruction": "Hi", "input": "", "output": "Ho"}] * 8)
    assert "is not on the Hub, where a job gets it" in refusal(started, lab, config=smoke(), error=ModelError)
    assert "is not on the Hub" in refusal(started, lab, config={"model": str(tmp_path)}, error=ModelError)
    assert "whose job that is" in refusal(started, lab, viewer=ANONYMOUS, error=DataError)
    gone = {**CONFIG, "data": {"source": str(tmp_path / "gone.json")}}
    assert "The rows of gone.json are gone" in refusal(started, lab, config=gone, error=DataError)
    monkeypatch.setattr(lab.access, "_multi_user", True)
    others = {**CONFIG, "data": {"source": own}}
    assert "This lab is hosted" in refusal(started, lab, config=others, error=DataError)
    assert toy.requests == []


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
