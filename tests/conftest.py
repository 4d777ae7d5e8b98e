"""Fixtures for every test file. Toy tokenizers and models are in ``toys``."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import hypothesis
import pytest

# A busy machine is slow; that is no fault of the code.
hypothesis.settings.register_profile("lab", deadline=None)
hypothesis.settings.load_profile("lab")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Toy models are faster on one thread, and sum in the same order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
