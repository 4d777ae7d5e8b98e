"""A store of runs in a folder of the test's own."""

import pytest

from instruct_tune.store.run_store import RunStore

CONFIG = {"model": "tiny-random", "data": {"source": "bundled"}}


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path)
    yield store
    store.close()
