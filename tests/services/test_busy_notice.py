"""The notice and the offer that a visitor sees while another visitor's job is at work."""

from __future__ import annotations

import threading

import pytest
from labs import opened

from instruct_tune.config.viewer import HOST, known_by
from instruct_tune.services.job_queue import Job

ANN, BOB = known_by("ann's own long secret"), known_by("bob's own long secret")


@pytest.fixture
def lab(tmp_path):
    with opened(tmp_path / "data") as lab:
        yield lab


@pytest.fixture
def busy(lab):
    """A lab where Ann's run is at work until the test ends."""
    begun, over = threading.Event(), threading.Event()
    lab.seconds_left = None

    def work():
        begun.set()
        over.wait(120)

    lab.queue.enqueue(Job("run of Ann", work, ("run", "ann-1"), ANN.id, lambda: lab.seconds_left))
    assert begun.wait(120)
    yield lab
    over.set()


def test_an_idle_lab_keeps_nobody_waiting(lab):
    assert lab.training.others_at_work(BOB) is None


def test_only_others_read_the_notice_and_where_they_would_stand(busy):
    assert busy.training.others_at_work(ANN) is None
    notice = {"kind": "run", "waiting": False, "place": 1, "starts_in_seconds": None}
    assert busy.training.others_at_work(BOB) == notice
    assert busy.training.others_at_work(HOST) == notice
    busy.queue.enqueue(Job("another of Ann's", lambda: None, ("evaluation", "ann-1"), ANN.id))
    # Turns go round by person: Ann had one, Bob had none.
    assert busy.training.others_at_work(BOB) == notice
    busy.queue.enqueue(Job("run of Bob", lambda: None, ("run", "bob-1"), BOB.id))
    busy.queue.enqueue(Job("another of Bob's", lambda: None, ("run", "bob-2"), BOB.id))
    assert busy.training.others_at_work(BOB) == {**notice, "waiting": True}
    assert busy.training.others_at_work(HOST) == {**notice, "place": 2}


def test_those_before_are_taken_to_take_as_long_as_the_one_at_work(busy):
    busy.seconds_left = 100.0
    busy.queue.enqueue(Job("run of somebody else", lambda: None, ("run", "cid-1"), "cid"))
    waiting = busy.training.others_at_work(BOB)["starts_in_seconds"]
    assert 200 <= waiting < 200 + 60


@pytest.mark.parametrize(
    ("waiting", "place", "seconds", "expected"),
    [
        (False, 1, None, "Someone else's run is at work; yours would be next."),
        (False, 1, 40, "yours would be next, in about 1 min."),
        (False, 2, 190, "yours would be 2nd in line, in about 3 min."),
        (True, 3, 190, "you are 3rd in line, in about 3 min."),
        (True, 2, 40_000, "you are 2nd in line, in about 11 h."),
        (True, 12, None, "you are 12th in line."),
    ],
)
def test_the_words(waiting, place, seconds, expected):
    from instruct_tune.ui.layout.busy_notice import words

    notice = {"kind": "run", "waiting": waiting, "place": place, "starts_in_seconds": seconds}
    assert expected in words(notice)


def test_the_offer_comes_and_goes_with_somebody_elses_run(busy):
    import gradio as gr

    from instruct_tune.ui.layout.busy_notice import BusyNotice
    from instruct_tune.ui.replay import Replay

    with gr.Blocks():
        tabs = gr.Tabs()
        notice = BusyNotice(training=busy.training, access=busy.access)
        replay = Replay(gr.State(None), runs=busy.runs, training=busy.training, access=busy.access)
        notice.offer(replay, tabs, replay.offer(tabs))
    now, text, row, welcome = notice.show("")
    assert now == text
    assert text.startswith("**Someone else's run is at work")
    assert (row.visible, welcome.visible) == (True, False)
    # The browser shows this text already: no update is sent.
    assert all(set(value) == {"__type__"} for value in notice.show(now))
    [job] = busy.queue.jobs
    job.by = "anonymous"  # the viewer of this test, which sends no secret: the run is its own now
    _, text, row, welcome = notice.show(now)
    assert (text, row.visible, welcome.visible) == ("", False, True)
