"""Each fault of a push is a sentence, and a second try goes on."""

import dataclasses
import re
import time

import push_lab
import pytest
from at_night import at_night_after
from huggingface_hub import constants
from push_lab import NARROW, OWN, READER, pushed, refusal, weights_sent
from toy_uploads import Fault

from instruct_tune.pretrained.hub_token import HubToken

pytestmark = pytest.mark.usefixtures("one_thread")

kept, toy = push_lab.kept, push_lab.toy
REMEDY = "push again, and what has arrived is not sent again"
FAULTS = {
    "expired": (Fault("GET /api/whoami-v2", 401), "The Hub does not know this token"),
    "no write scope": (Fault("POST /api/repos/create", 403), "This token may not write to ann/tulip on the Hub"),
    "taken meanwhile": (Fault("POST /api/repos/create", 409), "was made or changed on the Hub by somebody else"),
    "too many": (Fault("/create", 429, headers={"Retry-After": "3600"}), f"a pause of 3,600 seconds.*{REMEDY}"),
    "too many, later": (
        Fault("/preupload/", 429, headers={"RateLimit": '"api";r=0;t=300'}), f"a pause of 300 seconds.*{REMEDY}",
    ),
    "fault of the Hub": (Fault("POST /api/repos/create", 500), rf"a fault of its own at the moment \(500\): {REMEDY}"),
    "fault of the store": (Fault("PUT /lfs-store/", 500, 6), rf"a fault of its own at the moment \(500\): {REMEDY}"),
    "cut in a file": (Fault("PUT /lfs-store/", times=6), f"The connection to the Hub was lost: {REMEDY}"),
    "no scope for large files": (Fault("/objects/batch", 403), "This token may not write to ann/tulip"),
    "changed meanwhile": (Fault("/commit/main", 412), "was made or changed on the Hub by somebody else meanwhile"),
    "fault at the commit": (Fault("/commit/main", 500), f"fault of its own.*{REMEDY}"),
    "cut at the commit": (Fault("/commit/main"), f"The connection to the Hub was lost: {REMEDY}"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", at_night_after(6, FAULTS))
def test_a_fault_is_a_sentence_and_the_second_try_goes_on(kept, toy, name, monkeypatch):
    fault, sentence = FAULTS[name]
    toy.uploads.faults = [dataclasses.replace(fault)]
    monkeypatch.setattr(kept.lab.push._inference, "beside_copy", lambda *arguments: [("Hi", "Hi")])
    assert re.search(sentence, refusal(kept))
    assert toy.slept == [] or not fault.headers, "nobody waits for minutes"
    sent = len(weights_sent(kept, toy))
    result = pushed(kept)
    assert (result["same_weights"], result["same_answers"]) == (True, 1)
    arrived = "/commit" in fault.about
    assert len(weights_sent(kept, toy)) - sent == (0 if arrived else 1), "what has arrived is not sent again"


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [Fault("/create", 429, 2, {"Retry-After": "0"}), Fault("/commit/main", 429), Fault("PUT /lfs-store/", times=2)],
    ids=lambda fault: fault.about,
)
def test_a_short_pause_and_one_lost_connection_are_nobodys_concern(kept, toy, fault, monkeypatch):
    toy.uploads.faults = [dataclasses.replace(fault)]
    monkeypatch.setattr(kept.lab.push._inference, "beside_copy", lambda *arguments: [("Hi", "Hi")])
    assert pushed(kept)["same_weights"]
    assert toy.uploads.faults[0].times == 0


@pytest.mark.parametrize(
    "name", ["", "tulip", "a/b/c", "../x", "ann/", "ann/tu lip", "-a/b", "ann/x--y", None, 7, "a/" + "b" * 99]
)
def test_a_name_that_no_repository_has_is_refused_before_anything_is_sent(kept, toy, name):
    assert "is no name for a repository: give OWNER/NAME" in refusal(kept, name)
    assert toy.requests == []


@pytest.mark.parametrize(
    ("to", "own", "sentence"),
    [
        ("bob/tulip", OWN, "bob is not your account on the Hub: give ann/tulip, or garden."),
        ("ann/tulip", HubToken(READER), "give it write access to the repositories of ann at https://"),
        ("ann/tulip", HubToken(NARROW), "give it write access to the repositories of ann at https://"),
        ("ann/tulip", HubToken(READER, time.time() + 60), "sign in again and let the lab create repositories"),
        ("ann/tulip", HubToken("hf_of_nobody"), "The Hub does not know this token: make one with write access at"),
    ],
)
def test_a_push_without_write_access_is_refused_with_a_remedy(kept, toy, to, own, sentence):
    assert sentence in refusal(kept, to, own)
    assert toy.models == {}


def test_an_unreachable_hub_is_reported_at_once(kept, toy, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal(kept) == "The Hub cannot be reached: go online, and push again."
