"""Visitors' identities: secrets, pages, the host's token, and accounts."""

from __future__ import annotations

import pytest
from labs import PATIENCE, smoke
from visitors import ANN, BOB, hosted_lab, of, upload

from instruct_tune.config.viewer import ANONYMOUS, Viewer, known_by
from instruct_tune.errors import DataError, NotFoundError
from instruct_tune.services.access import Access

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    with hosted_lab(tmp_path / "data", monkeypatch) as lab:
        yield lab


# Identities


def test_a_secret_makes_a_visitor_and_the_history_does_not_hold_it(lab):
    assert known_by("ann's own secret") == ANN != BOB
    assert ANN.id not in ("ann's own secret", None)
    lab.training.start(ANN, smoke(), "")
    assert b"ann's own secret" not in (lab.data_dir / "lab.sqlite").read_bytes()


@pytest.mark.parametrize("secret", ["", "short", "x" * 201, None, 5, ["a" * 20], {}])
def test_what_could_be_guessed_is_no_secret(secret):
    with pytest.raises(DataError, match="16 to 200"):
        known_by(secret)


def test_a_page_is_its_visitors_from_arrival_on():
    visitors = Access()
    assert visitors.of("page") == visitors.of(None) == ANONYMOUS
    assert visitors.arrive("page", "ann's own secret") == ANN
    assert visitors.of("page") == ANN
    assert visitors.of("another") == ANONYMOUS
    assert not visitors.admit("page", "")
    assert not visitors.admit("page", "any")


def test_the_hosts_token_makes_a_page_the_hosts_and_no_other():
    visitors = Access("the host's token")
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


# Accounts


def test_who_signs_in_keeps_what_their_browser_began_and_finds_their_own_elsewhere(hosted):
    ann, elsewhere = ANN.signed_in("5f0c"), BOB.signed_in("5f0c")
    before = hosted.training.start(ANN, of(upload(hosted, ANN)), "before")
    after = hosted.training.start(ann, of(upload(hosted, ann)), "after")
    for run_id in (before, after):
        hosted.training.wait(run_id, PATIENCE)

    def seen(viewer):
        return [(run["name"], run["yours"]) for run in hosted.runs.summaries(viewer)]

    assert seen(ann) == [("after", True), ("before", True)]
    assert seen(elsewhere) == [("after", True)]
    assert seen(ANN) == [("before", True)], "signed out"
    assert seen(BOB) == seen(BOB.signed_in("another")) == seen(ANONYMOUS) == []
    assert ann.id == elsewhere.id
    for viewer, run_id in ((ann, before), (ann, after), (elsewhere, after)):
        hosted.runs.rename(viewer, run_id, "renamed")
        assert hosted.runs.is_shared(viewer, run_id) is False
        source = hosted.runs.config(viewer, run_id).data.source
        assert hosted.configs.may_use(viewer, source)
    assert not hosted.configs.may_use(elsewhere, hosted.runs.config(ANN, before).data.source)
    with pytest.raises(NotFoundError):
        hosted.runs.rename(elsewhere, before, "mine")


def test_signing_in_gives_no_second_quota_and_makes_nobody_the_host(hosted, monkeypatch):
    monkeypatch.setenv("LAB_VISITOR_MB", "1")
    upload(hosted, ANN, rows=15_000)
    ann = ANN.signed_in("5f0c")
    with pytest.raises(DataError, match="LAB_VISITOR_MB"):
        upload(hosted, ann, rows=15_000)
    upload(hosted, BOB.signed_in("another"), rows=15_000)
    assert not ann.host
    assert Viewer(ANN.id, host=True).signed_in("5f0c").host, "the host stays the host"


def test_an_account_cannot_be_made_up_as_a_secret():
    """Ids of accounts are no secret: whatever a browser sends as its own gives it nothing of theirs."""
    account = "5f0c5f0c5f0c5f0c5f0c5f0c"
    ann = ANN.signed_in(account)
    for secret in (account, f"hf:{account}", f"hf-{account}", ann.id):
        assert known_by(secret).id not in ann.ids
