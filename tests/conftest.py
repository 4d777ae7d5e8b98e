"""Fixtures for every test file. Toy tokenizers and models are in ``toys``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import hypothesis
import pytest
from labs import PATIENCE, TWELVE_STEPS, Pace, cache_for, finished, imports_frozen, opened

# A busy machine is slow; that is no fault of the code.
hypothesis.settings.register_profile("lab", deadline=None)
hypothesis.settings.load_profile("lab")


LONGEST = ("test_real_model", "test_journey_data", "test_journey_format", "test_journey", "test_cli_process")
"""Files that take minutes. They begin first, so that no worker is left alone with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; within a file, and else, the order stays."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """One Chromium for all tests of a worker; every window is a visitor of its own."""
    from browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Toy models are faster on one thread, and sum in the same order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def quicker() -> Iterator[None]:
    """For modules that train many small runs; see ``imports_frozen``."""
    with imports_frozen():
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, one_thread) -> SimpleNamespace:
    """Six steps of the tiny model in peace: what every interrupted or disturbed run is held against."""
    from tiny_lab import adapter_weights, go, tiny_with

    loaded = tiny_with()
    folder = tmp_path_factory.mktemp("undisturbed")
    watcher, result = go(loaded, folder)
    assert (result.steps, result.total_steps, result.stopped) == (6, 6, False)
    return SimpleNamespace(watcher=watcher, folder=folder, losses=watcher.losses, adapter=adapter_weights(loaded))


@pytest.fixture
def tiny_cache(monkeypatch, tmp_path_factory) -> None:
    """The tiny model is made once for a whole session."""
    monkeypatch.setenv("LAB_CACHE_DIR", str(cache_for(tmp_path_factory)))


@pytest.fixture
def lab(tmp_path, tiny_cache):
    """An empty lab of the test's own; modules that need another one have a fixture of that name."""
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
            yield lab, finished(lab, TWELVE_STEPS, "tulip")


@pytest.fixture
def engine_held(lab):
    """Keeps the engine's thread from what is asked of it until it is let go."""
    let_go, begun = threading.Event(), threading.Event()
    lab.queue.submit_short(lambda: begun.set() or let_go.wait(PATIENCE))
    assert begun.wait(PATIENCE)
    yield let_go
    let_go.set()


@pytest.fixture(scope="module")
def no_deprecated_calls() -> Iterator[None]:
    """Fails a module whose calls transformers logs as deprecated; it warns through its logger, not ``warnings``."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener()
    logging.getLogger("transformers").addHandler(listener)
    yield
    logging.getLogger("transformers").removeHandler(listener)
    assert [line for line in said if "deprecat" in line.lower() or "removed in" in line.lower()] == []
