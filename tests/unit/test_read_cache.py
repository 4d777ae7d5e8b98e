"""During one poll the store runs each query once, and still sees what the poll's thread writes."""

import threading

import pytest

from instruct_tune.errors import NotFoundError, StoreError
from instruct_tune.store.read_cache import ReadCache
from instruct_tune.store.run_store import RunStore


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path)
    yield store
    store.close()


@pytest.fixture
def queries(store, monkeypatch):
    """Every query that reaches the database."""
    calls, fetch = [], store._history._fetch
    monkeypatch.setattr(
        store._history, "_fetch", lambda query, values: calls.append((query, values)) or fetch(query, values)
    )
    return calls


def test_a_query_runs_once_in_a_glance_and_each_time_outside(store, queries):
    run = store.create("tulip", {})
    queries.clear()
    with store.read_cache():
        assert store.get(run.id) is store.get(run.id)
        assert store.metrics(run.id) == store.metrics(run.id) == []
    assert len(queries) == 2
    store.get(run.id)
    store.get(run.id)
    assert len(queries) == 4


def test_what_the_same_thread_writes_is_seen_at_once(store):
    run = store.create("tulip", {})
    with store.read_cache():
        assert store.get(run.id).step == 0
        store.update(run.id, step=7)
        assert store.get(run.id).step == 7
        store.update(run.id, binned=1.0)
        with pytest.raises(NotFoundError):
            store.get(run.id)


def test_what_is_read_is_never_older_than_the_version_that_was_returned(store):
    """Otherwise a page that remembers the version would not read again."""
    run = store.create("tulip", {})
    with store.read_cache():
        begun = store.version()
        other = threading.Thread(target=store.update, args=(run.id,), kwargs={"step": 7})
        other.start()
        other.join()
        assert (store.get(run.id).step, store.version()) == (7, begun)
    assert store.version() != begun


def test_each_thread_has_a_glance_of_its_own(store):
    run = store.create("tulip", {})
    seen = []
    with store.read_cache():
        store.get(run.id)
        store._history._db.execute("UPDATE runs SET step = 5")
        other = threading.Thread(target=lambda: seen.append(store.get(run.id).step))
        other.start()
        other.join()
        assert (seen, store.get(run.id).step) == ([5], 0)
    assert store.get(run.id).step == 5


def test_a_history_that_cannot_be_read_is_reported_to_who_queries_it(store, monkeypatch):
    """Otherwise a page's whole poll would fail, with all parts that need no history."""

    def unreadable() -> None:
        raise StoreError("The history cannot be read.")

    monkeypatch.setattr(store._history, "_version", unreadable)
    with store.read_cache():
        assert store.ids() == set()
        with pytest.raises(StoreError):
            store.version()


def test_a_glance_ends_with_what_went_wrong_in_it():
    read_cache = ReadCache()

    def look() -> None:
        with read_cache.at_once():
            assert (read_cache.once("x", lambda: 1), read_cache.once("x", lambda: 2)) == (1, 1)
            read_cache.once("y", lambda: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        look()
    assert read_cache.once("x", lambda: 2) == 2
