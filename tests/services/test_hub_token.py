"""Which token a push or a job takes: the host's login is the host's alone."""

import time

import hub_job_lab
import pytest
from hub_job_lab import ANN, HOSTS, refusal, started
from huggingface_hub import constants
from toy_uploads import Account

from instruct_tune.errors import DataError, HubError
from instruct_tune.pretrained.hub_token import HubToken, acting_for, for_jobs, for_writing, of_this_machine

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


def test_the_hosts_login_is_for_the_host_alone(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", HOSTS)
    signed_in, late = HubToken("hf_oauth_of_ann", time.time() + 60), HubToken("hf_oauth_of_ann", time.time() - 1)
    assert for_writing().secret == of_this_machine().secret == HOSTS
    assert for_writing(f" {ANN}\n").secret == ANN
    monkeypatch.setenv("LAB_ADMIN_TOKEN", "the admin's")
    assert for_writing(ANN).secret == ANN
    for own, scopes in ((None, ""), (None, "openid contribute-repos"), (signed_in, "openid read-repos")):
        monkeypatch.setenv("OAUTH_SCOPES", scopes)
        with acting_for(own), pytest.raises(HubError, match="Pushing needs your own Hugging Face account: paste"):
            for_writing()
    monkeypatch.setenv("OAUTH_SCOPES", "openid read-repos contribute-repos")
    with acting_for(signed_in):
        assert for_writing() is signed_in
        assert for_writing(ANN).secret == ANN, "what was typed comes first"
    with acting_for(late), pytest.raises(HubError, match="has expired: sign in again"):
        for_writing()


@pytest.mark.parametrize(
    "typed", ["hf_of ann_0123", "hf_of_ann\r\nX-Evil: 1", "hf_ünïcode_0123", "hf", 7, "\ud83dhf_of_ann"]
)
def test_what_cannot_be_a_token_is_not_quoted(typed):
    with pytest.raises(DataError) as caught:
        for_writing(typed)
    assert str(typed) not in str(caught.value)
    assert "copy one with write access from https://huggingface.co/settings/tokens" in str(caught.value)


def test_no_machine_has_a_login_that_nobody_made(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(HubError, match="no Hugging Face login on this machine: run `hf auth login`"):
        of_this_machine()
