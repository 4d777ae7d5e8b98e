"""A lab whose runs are pushed to a toy Hub."""

from types import SimpleNamespace

import pytest
from huggingface_hub.utils import _http
from labs import cache_for, opened, smoke, trained
from toy_hub import ToyHub, connected
from toy_uploads import Account

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import LabError
from instruct_tune.pretrained import hub_faults
from instruct_tune.pretrained.hub_token import HubToken
from instruct_tune.util.hashing import sha256_of_file

ANN, READER, NARROW, HOSTS = "hf_of_ann_0123", "hf_reader_0123", "hf_narrow_0123", "hf_of_the_host_0123"
OWN = HubToken(ANN)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A lab with an evaluated run and one that was not evaluated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("push")) as lab:
            run_id = trained(lab, smoke(), "tulip")
            list(lab.evaluations.stream(HOST, run_id))
            yield SimpleNamespace(lab=lab, run_id=run_id, plain=trained(lab, smoke(), "rose"))


@pytest.fixture
def toy(monkeypatch):
    """A Hub of the test's own, which this process talks to without waiting between two tries."""
    toy = ToyHub(
        {},
        accounts={
            ANN: Account("ann", ("garden",)),
            READER: Account("ann", role="read"),
            NARROW: Account("ann", role="fineGrained", scopes=("garden",)),
            HOSTS: Account("host"),
        },
    )
    slept = []
    monkeypatch.setenv("HF_TOKEN", HOSTS)
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=slept.append))
    monkeypatch.setattr(hub_faults, "USUAL_PAUSE", 0.1)
    with connected(monkeypatch, toy):
        toy.slept = slept
        yield toy
    assert HOSTS not in {token for _, token in toy.uploads.seen}


def pushed(kept, to="ann/tulip", own=OWN, viewer=HOST, run_id=None, **options):
    return kept.lab.push.result(kept.lab.push.start(viewer, run_id or kept.run_id, to, own, **options))


def refusal(kept, *arguments, **options):
    """The sentence of a push that fails."""
    with pytest.raises(LabError) as caught:
        pushed(kept, *arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert "hf_" not in text
    return text


def adapter_of(kept, run_id=None):
    return kept.lab.store.folder(run_id or kept.run_id) / "adapter" / "adapter_model.safetensors"


def weights_sent(kept, toy):
    return [request for request in toy.requests if request == f"PUT /lfs-store/{sha256_of_file(adapter_of(kept))}"]
