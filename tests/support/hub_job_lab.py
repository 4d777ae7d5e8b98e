"""A lab whose jobs run on a toy Hub: it starts, moves and ends them for the tests of jobs."""

from types import SimpleNamespace

import pytest
from huggingface_hub.utils import _http
from job_results import CONFIG, result_files
from labs import cache_for, opened, until
from toy_hub import ToyHub, connected
from toy_uploads import Account

from instruct_tune.config.viewer import known_by
from instruct_tune.errors import LabError
from instruct_tune.pretrained import hub_faults
from instruct_tune.pretrained.hub_token import HubToken
from instruct_tune.services import hub_job_follower

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
    with connected(monkeypatch, toy):
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


def finish(toy):
    """The Hub's side of a job that ends well."""
    job = toy.jobs.all[-1]
    repo = job.spec["volumes"][0]["source"]
    toy.uploads._enter(repo, {**toy.models[repo], **result_files()})
    job.stage = "COMPLETED"
