"""Which token a job takes: the host's login is the host's alone."""

import time

import hub_job_lab
import pytest
from hub_job_lab import HOSTS, refusal, started
from toy_uploads import Account

from instruct_tune.errors import DataError, HubError
from instruct_tune.pretrained.hub_token import HubToken, acting_for, for_jobs

pytestmark = pytest.mark.usefixtures("one_thread")

lab, toy = hub_job_lab.lab, hub_job_lab.toy


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
