"""An evaluation's progress meter, with a clock set by hand."""

from __future__ import annotations

import pytest

from instruct_tune.compute import progress_meter
from instruct_tune.compute.progress_meter import Meter


@pytest.fixture
def clock(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(progress_meter.time, "monotonic", lambda: now[0])
    return now


def test_speed_and_time_left(clock):
    at = Meter(total=80, longest=96, batch=20)
    first = at.progress()
    assert (first["fraction"], first["answers_per_second"], first["seconds_left"]) == (0, None, None)
    clock[0] += 10
    at.batch_done(20)
    progress = at.progress()
    assert (progress["done"], progress["total"], progress["fraction"], progress["seconds"]) == (20, 80, 0.25, 10)
    assert (progress["answers_per_second"], progress["seconds_left"]) == (2.0, 30.0)


def test_there_is_progress_inside_a_batch(clock):
    at = Meter(total=80, longest=96, batch=20)
    for _ in range(48):
        at.token()
    assert at.progress()["fraction"] == 10 / 80
    assert at.progress()["done"] == 0


def test_it_tells_twice_a_second(clock):
    at = Meter(total=4, longest=8, batch=2)
    due = []
    for _ in range(10):
        clock[0] += 0.1
        due.append(at.token())
        if due[-1]:
            at.progress()
    assert due.count(True) == 2


def test_it_never_goes_back(clock):
    at = Meter(total=40, longest=10, batch=40)
    for _ in range(9):
        at.token()
    before = at.progress()["fraction"]
    at.batch_done(10)  # the batch was smaller than expected
    assert at.progress()["fraction"] == before
    for _ in range(1000):
        at.token()
    assert at.progress()["fraction"] == 1
