"""Fixtures for every test file. Toy tokenizers and models are in ``toys``."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import hypothesis
import pytest
from labs import PATIENCE, TWELVE_STEPS, Pace, cache_for, opened, trained

# A busy machine is slow, which is no fault of the code.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=300)
hypothesis.settings.load_profile("quick")
# A shell has what it starts in the background ignore Ctrl-C, and the tests' own processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No server of a test downloads a model that the test does not need.
os.environ.setdefault("LAB_FETCH_DEFAULT", "0")


LONGEST = (
    "test_journey_room",
    "test_journey_runs",
    "test_zerogpu",
    "test_journey",
    "test_journey_path",
    "test_journey_visitors",
    "test_journey_compare",
    "test_first_screen",
    "test_real_model",
    "test_journey_links",
    "test_journey_evaluate",
    "test_journey_train",
    "test_journey_cost",
    "test_journey_data",
    "test_accessibility",
    "test_access",
    "test_sign_in",
    "test_push",
    "test_push_faults",
    "test_broken_models",
)
"""Files that take minutes. They begin first, so that no worker runs one of them alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first; otherwise, and within a file, keep the order."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> None:
    """Keep the garbage collector from scanning what modules before have imported and kept.

    That took a fifth of a second each time, which is twice in every training run: half the time of such a test.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """One Chromium for all tests of a worker; every window is a separate visitor."""
    from browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def empty_lab(tmp_path_factory) -> Iterator[str]:
    """The address of a lab without runs, for the browser tests that start none: a server starts in many seconds."""
    from browser import serving

    from instruct_tune.config.viewer import HOST
    from instruct_tune.runs.examples import put_recorded

    data_dir = tmp_path_factory.mktemp("empty") / "data"
    with opened(data_dir) as lab:
        # A lab adds the recorded runs at its start, unless they were deleted.
        for run_id in put_recorded(lab.store):
            lab.training.delete(HOST, run_id)
    with serving(data_dir) as address:
        yield address


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory) -> Iterator[str]:
    """The address of a lab that has just started, with the recorded runs, for the browser tests that start none."""
    from browser import serving

    with serving(tmp_path_factory.mktemp("new") / "data") as address:
        yield address


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Toy models are faster on one thread, and sum in the same order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, one_thread) -> SimpleNamespace:
    """Six undisturbed steps of the tiny model: the reference for every interrupted or disturbed run."""
    from tiny_lab import adapter_weights, go, tiny_with

    loaded = tiny_with()
    folder = tmp_path_factory.mktemp("undisturbed")
    watcher, result = go(loaded, folder)
    assert (result.steps, result.total_steps, result.stopped) == (6, 6, False)
    return SimpleNamespace(watcher=watcher, folder=folder, losses=watcher.losses, adapter=adapter_weights(loaded))


@pytest.fixture
def tiny_cache(monkeypatch, tmp_path_factory) -> None:
    """Make the tiny model once for the whole session."""
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))


@pytest.fixture
def lab(tmp_path, tiny_cache):
    """An empty lab for the test; modules that need another one have a fixture of that name."""
    with opened(tmp_path / "data") as lab:
        yield lab


@pytest.fixture
def pace(monkeypatch) -> Pace:
    return Pace(monkeypatch)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A lab with one finished run, "tulip", for tests that only read it or answer with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))
        with opened(tmp_path_factory.mktemp("kept")) as lab:
            yield lab, trained(lab, TWELVE_STEPS, "tulip")


@pytest.fixture
def engine_held(lab):
    """Keep the queue's thread busy until the returned event is set."""
    let_go, begun = threading.Event(), threading.Event()
    lab.queue.submit_short(lambda: begun.set() or let_go.wait(PATIENCE))
    assert begun.wait(PATIENCE)
    yield let_go
    let_go.set()


@pytest.fixture(scope="module")
def no_deprecated_calls() -> Iterator[None]:
    """Fail a module whose calls transformers logs as deprecated; it warns through its logger, not ``warnings``."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    listener = Listener()
    logging.getLogger("transformers").addHandler(listener)
    yield
    logging.getLogger("transformers").removeHandler(listener)
    assert [line for line in messages if "deprecat" in line.lower() or "removed in" in line.lower()] == []
