"""The default model is got ready in the background: loaded where it is, fetched where it is not, stopped, refused."""

import gc
import logging
import threading
import time

import gradio as gr
import pytest
from labs import PATIENCE, opened, smoke

from instruct_tune.config.viewer import ANONYMOUS, HOST
from instruct_tune.errors import DataError, HubError, SettingsError
from instruct_tune.services import default_model
from instruct_tune.services.job_queue import Job
from instruct_tune.services.slow_imports import SlowImports
from instruct_tune.ui.layout.status_bar import StatusBar, words

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_cache")


@pytest.fixture
def roomy(lab, monkeypatch):
    """Memory enough, and a small default model."""
    monkeypatch.setattr("instruct_tune.services.default_model.DEFAULT_MODEL", "tiny-random")
    monkeypatch.setattr("instruct_tune.services.default_model.unused_memory", lambda: 2**40)
    monkeypatch.setattr("instruct_tune.pretrained.locate.at_hand", lambda model: None)
    monkeypatch.setattr(lab.default_model, "_fetch", True)


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
        monkeypatch.setattr(lab.default_model, "_fetch", False)
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


def endless(name, bf16, report, loading):
    """A download that goes on until it is stopped."""
    report("downloading it from PyPI (93 MB)")
    loading.enter("Downloading it", total=93_000_000)
    while True:
        loading.advance(0)
        time.sleep(0.01)


def test_a_download_is_followed_and_stopped_and_what_waited_runs(lab, roomy, monkeypatch):
    monkeypatch.setattr(lab.models, "base", endless)
    lab.default_model.get_ready()
    until(lambda: lab.default_model.is_downloading)
    until(lambda: (lab.default_model.progress or "").startswith("Downloading it: 0.0 of 93.0 MB"))
    waiting = lab.queue.submit_short(lambda: "now it is mine")
    lab.default_model.stop()
    assert waiting.result(PATIENCE) == "now it is mine"
    assert (lab.default_model.progress, lab.default_model.is_downloading) == (None, False)
    # It is not begun again.
    lab.default_model.get_ready()
    assert not is_loaded(lab)


def test_a_run_that_is_started_meanwhile_does_not_wait_for_the_download(lab, roomy, monkeypatch):
    monkeypatch.setattr(lab.models, "base", endless)
    lab.default_model.get_ready()
    until(lambda: lab.default_model.is_downloading)
    assert lab.queue.enqueue(Job("a run", lambda: "it trains")).result(PATIENCE) == "it trains"
    assert lab.default_model.progress is None


def test_what_is_downloaded_is_converted_to_the_end(lab, roomy, monkeypatch):
    def base(name, bf16, report, loading):
        report("converting the 4-bit weights, once")
        until(lambda: stopped)

    stopped = []
    monkeypatch.setattr(lab.models, "base", base)
    lab.default_model.get_ready()
    until(lambda: lab.default_model.progress == "converting the 4-bit weights, once")
    assert not lab.default_model.is_downloading
    lab.default_model.stop()
    assert lab.default_model.progress == "converting the 4-bit weights, once"
    stopped.append(True)
    until(lambda: lab.default_model.progress is None)


def test_a_visitor_sees_the_download_and_only_the_host_stops_it(lab, roomy, monkeypatch):
    shown = "instruct_tune.ui.layout.status_bar.viewer"
    monkeypatch.setattr(lab.access, "_multi_user", True)
    monkeypatch.setattr(lab.models, "base", endless)
    with gr.Blocks():
        bar = StatusBar(
            uploads=lab.uploads,
            runs=lab.runs,
            training=lab.training,
            default_model=lab.default_model,
            access=lab.access,
        )
    state = ("codealpaca-20k", "tiny-random", None, None, None)
    lab.default_model.get_ready()
    until(lambda: lab.default_model.is_downloading)
    monkeypatch.setattr(shown, lambda access: ANONYMOUS)
    line, _, button = bar.show(*state)
    assert ("Downloading it" in line, button.visible) == (True, False)
    with pytest.raises(DataError, match="Only the host"):
        bar.stop_download()
    assert lab.default_model.is_downloading
    monkeypatch.setattr(shown, lambda access: HOST)
    line, seen, button = bar.show(*state)
    assert button.visible
    assert bar.stop_download().visible is False
    until(lambda: lab.default_model.progress is None)
    line, _, button = bar.show(*state[:-1], seen)
    assert (line.endswith("**Lab** idle"), button.visible) == (True, False)


@pytest.mark.parametrize("wrong", ["no", "2", "false"])
def test_a_wrong_variable_is_an_error_at_the_start(tmp_path, monkeypatch, wrong):
    monkeypatch.setenv("LAB_FETCH_DEFAULT", wrong)
    with pytest.raises(SettingsError, match="LAB_FETCH_DEFAULT must be 1 or 0"), opened(tmp_path / "data"):
        pass


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


def test_the_strip_tells_it_before_anything_else():
    assert words("rows", None, "model", None, None).endswith("**Lab** idle")
    fetched = words("rows", None, "model", None, None, "converting <b>")
    assert fetched.endswith("**Lab** gets the first model ready: converting \\<b\\>")
    # A run that was started meanwhile waits for it.
    assert words("rows", None, "model", None, "run x", "converting").endswith("first model ready: converting")
    assert words("rows", None, "model", None, "run x").endswith("**Lab** busy with run x")


@pytest.fixture
def readied(lab, monkeypatch):
    """Set when the lab gets the default model ready."""
    readied = threading.Event()
    monkeypatch.setattr(lab.default_model, "get_ready", readied.set)
    return readied


def test_it_waits_for_the_first_page_to_be_drawn(lab, readied, monkeypatch):
    monkeypatch.setattr(default_model, "SECONDS_WITHOUT_A_PAGE", PATIENCE)
    lab.default_model.start()
    assert not readied.wait(0.2)
    lab.default_model.page_is_drawn()
    assert readied.wait(PATIENCE)


def test_it_waits_no_longer_than_a_while(lab, readied, monkeypatch):
    monkeypatch.setattr(default_model, "SECONDS_WITHOUT_A_PAGE", 0.01)
    lab.default_model.start()
    assert readied.wait(PATIENCE)


def test_a_lab_that_closes_before_gets_nothing_ready(lab, readied, monkeypatch):
    monkeypatch.setattr(default_model, "SECONDS_WITHOUT_A_PAGE", PATIENCE)
    lab.default_model.start()
    (thread,) = (each for each in threading.enumerate() if each.name == "warm-up")
    lab.shutdown()
    thread.join(PATIENCE)
    assert not readied.is_set()


def test_who_needs_the_imports_before_has_them_made(monkeypatch):
    imports, made = SlowImports(), []
    monkeypatch.setattr(imports, "warm_up", lambda: made.append(1))
    imports.wait()
    assert made == [], "a command imports only what it uses"
    imports.plan()
    imports.wait()
    assert made == [1]


def test_the_imports_are_left_out_of_the_collections_of_every_run(monkeypatch):
    imports, frozen = SlowImports(), []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    for _ in range(2):
        imports.warm_up()
    assert frozen == [1]
