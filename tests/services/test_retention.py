"""Retention limits: the oldest events and evaluations go, the metrics of a run's steps stay."""

from contextlib import closing
from pathlib import Path

import pytest
from labs import finished

from instruct_tune.config.viewer import HOST
from instruct_tune.store import retention
from instruct_tune.store.run_store import RunStore


def test_the_events_of_a_run_are_bounded_and_anothers_stay(tmp_path, monkeypatch):
    monkeypatch.setitem(retention.MOST, "events", 3)
    with closing(RunStore(tmp_path)) as store:
        other, run_id = store.create("other", {}).id, store.create("a", {}).id
        store.add_event(other, "of another")
        for number in range(9):
            store.add_event(run_id, f"number {number}")
            store.add_metric(run_id, "train", number, 0.0, {"loss": 1.0})
        assert [event["text"] for event in store.events(run_id)] == ["number 6", "number 7", "number 8"]
        assert [event["text"] for event in store.events(other)] == ["of another"]
        assert len(store.metrics(run_id)) == 9


@pytest.mark.slow
def test_the_last_evaluations_of_a_run_are_kept_with_their_rows(lab, monkeypatch):
    monkeypatch.setitem(retention.MOST, "evaluations", 2)
    other, run_id = finished(lab), finished(lab)
    list(lab.evaluations.stream(HOST, other, limit=1))
    for limit in (1, 2, 3, 4):
        list(lab.evaluations.stream(HOST, run_id, limit=limit))
    kept = lab.runs.evaluations(HOST, run_id)
    assert [each["rows"] for each in kept] == [4, 3]
    assert [len(lab.evaluations.predictions(HOST, run_id, each["seq"])) for each in kept] == [4, 3]
    on_disk = sorted(path.name for path in lab.store.folder(run_id).glob("predictions*"))
    assert on_disk == sorted(Path(each["predictions"]).name for each in kept)
    assert len(lab.evaluations.predictions(HOST, other)) == 1
