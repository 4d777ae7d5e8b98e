"""The job queue, one thread for all work with torch: the order of its jobs, their failures, and its end."""

import threading
import time
from concurrent.futures import CancelledError

import pytest
from queues import PATIENCE, Held, open_queue

from instruct_tune.errors import BusyError
from instruct_tune.services.job_queue import Job, JobQueue


@pytest.fixture
def queue():
    with open_queue() as queue:
        yield queue


def test_everything_runs_on_one_thread_that_is_not_the_callers(queue):
    threads = {queue.submit_short(threading.get_ident).result(PATIENCE) for _ in range(3)}
    threads.add(queue.enqueue(Job("a run", threading.get_ident)).result(PATIENCE))
    threads |= {queue.submit_short(threading.get_ident).result(PATIENCE) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_no_thread_before_the_first_job(queue):
    before = threading.active_count()
    assert queue.busy_with is None
    assert threading.active_count() == before
    queue.submit_short(lambda: None).result(PATIENCE)
    assert threading.active_count() == before + 1


def test_the_thread_does_not_keep_the_process_alive(queue):
    assert queue.submit_short(lambda: threading.current_thread().daemon).result(PATIENCE) is True


def test_results_and_arguments_come_back(queue):
    assert queue.submit_short(lambda: {"a": 1}).result(PATIENCE) == {"a": 1}
    assert queue.enqueue(Job("a run", lambda: [2])).result(PATIENCE) == [2]


def test_long_jobs_take_their_turns(queue):
    held, order = Held(), []
    first = queue.enqueue(Job("run tulip", held, "tulip"))
    # Before the first job has begun, and while it is at work.
    for name in ("rose", "iris"):
        queue.enqueue(Job(f"run {name}", lambda name=name: order.append((name, queue.busy_with)), name))
        assert queue.busy_with == "run tulip"
        assert held.begun.wait(PATIENCE)
    assert [job.about for job in queue.jobs] == ["tulip", "rose", "iris"]
    assert [job.begun is not None for job in queue.jobs] == [True, False, False]
    held.let_go.set()
    assert first.result(PATIENCE) == "done"
    queue.enqueue(Job("the last", lambda: None)).result(PATIENCE)
    assert order == [("rose", "run rose"), ("iris", "run iris")]
    assert queue.jobs == ()


def test_who_waits_can_be_withdrawn_and_who_is_at_work_cannot(queue):
    held, ran, notified = Held(), [], []
    first = queue.enqueue(Job("run tulip", held, "tulip"))
    assert held.begun.wait(PATIENCE)
    second = queue.enqueue(Job("run rose", lambda: ran.append(1), "rose"))
    second.add_done_callback(lambda job: notified.append((job.cancelled(), queue.busy_with)))
    assert queue.withdraw("tulip") is None
    assert queue.withdraw("nobody") is None
    assert queue.withdraw("rose") is second
    assert notified == [(True, "run tulip")]
    assert queue.withdraw("rose") is None
    held.let_go.set()
    assert first.result(PATIENCE) == "done"
    queue.submit_short(lambda: None).result(PATIENCE)
    assert ran == []


def test_closing_returns_those_whose_turn_did_not_come():
    queue, held = JobQueue(), Held()
    first = queue.enqueue(Job("run tulip", held))
    assert held.begun.wait(PATIENCE)
    second = queue.enqueue(Job("run rose", lambda: None))
    assert queue.close() == [second]
    assert second.cancelled()
    held.let_go.set()
    queue.join(PATIENCE)
    assert first.result(0) == "done"


def test_a_long_job_waits_for_the_short_one_at_work(queue):
    held, order = Held(then=lambda: order.append("short")), []
    queue.submit_short(held)
    assert held.begun.wait(PATIENCE)
    long = queue.enqueue(Job("a run", lambda: order.append("long")))
    held.let_go.set()
    long.result(PATIENCE)
    assert order == ["short", "long"]


def test_a_short_job_is_served_where_the_long_one_breathes_and_only_there(queue):
    order = []

    def training():
        order.append("step")
        queue.yield_once()
        order.append("step")

    held = Held(then=training)
    long = queue.enqueue(Job("a run", held))
    assert held.begun.wait(PATIENCE)
    short = queue.submit_short(lambda: order.append("answer"))
    time.sleep(0.05)
    assert not short.done()
    held.let_go.set()
    long.result(PATIENCE)
    assert short.done()
    assert order == ["step", "answer", "step"]


def test_one_short_job_a_breath_and_in_their_order(queue):
    order = []

    def training():
        for step in range(4):
            queue.yield_once()
            order.append(step)

    held = Held(then=training)
    long = queue.enqueue(Job("a run", held))
    assert held.begun.wait(PATIENCE)
    for name in "abc":
        queue.submit_short(lambda name=name: order.append(name))
    held.let_go.set()
    long.result(PATIENCE)
    assert order == ["a", 0, "b", 1, "c", 2, 3]


def test_short_jobs_come_in_their_order_where_nothing_long_is_at_work(queue):
    held, order = Held(), []
    queue.submit_short(held)
    assert held.begun.wait(PATIENCE)
    jobs = [queue.submit_short(lambda name=name: order.append(name)) for name in "abc"]
    held.let_go.set()
    for job in jobs:
        job.result(PATIENCE)
    assert order == ["a", "b", "c"]


def test_what_was_not_served_in_a_breath_is_served_after_the_long_job(queue):
    held = Held()
    long = queue.enqueue(Job("a run", held))
    assert held.begun.wait(PATIENCE)
    short = queue.submit_short(lambda: "answer")
    held.let_go.set()
    assert long.result(PATIENCE) == "done"
    assert short.result(PATIENCE) == "answer"


def test_breathing_with_nobody_waiting_does_nothing(queue):
    assert queue.enqueue(Job("a run", lambda: queue.yield_once() or "done")).result(PATIENCE) == "done"


class Odd(BaseException):
    pass


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, Odd])
@pytest.mark.parametrize("how", ["short", "long", "in a breath"])
def test_what_goes_wrong_reaches_who_waits_and_the_thread_lives_on(queue, kind, how):
    def fail():
        raise kind("no")

    ident = queue.submit_short(threading.get_ident).result(PATIENCE)
    if how == "long":
        failed = queue.enqueue(Job("a run", fail))
    elif how == "short":
        failed = queue.submit_short(fail)
    else:
        held = Held(then=queue.yield_once)
        long = queue.enqueue(Job("a run", held))
        assert held.begun.wait(PATIENCE)
        failed = queue.submit_short(fail)
        held.let_go.set()
        long.result(PATIENCE)
    assert isinstance(failed.exception(PATIENCE), kind)
    assert queue.busy_with is None
    assert queue.submit_short(threading.get_ident).result(PATIENCE) == ident
    assert queue.enqueue(Job("the next", lambda: "done")).result(PATIENCE) == "done"


@pytest.mark.parametrize("job", [lambda: None, lambda: 1 / 0])
def test_the_engine_is_free_before_who_waits_hears_of_it(queue, job):
    """A caller that starts the next run when the last one ends must not be refused because the lab is busy."""
    seen = []
    for number in range(50):
        future = queue.enqueue(Job(f"run {number}", job))
        future.add_done_callback(lambda _: seen.append(queue.busy_with))
        future.exception(PATIENCE)
    # The queue runs a job's callbacks before the next job.
    queue.submit_short(lambda: None).result(PATIENCE)
    assert seen == [None] * 50


def test_a_callback_may_ask_for_the_next_job(queue):
    followers = []
    first = queue.enqueue(Job("first", lambda: None))
    first.add_done_callback(lambda _: followers.append(queue.enqueue(Job("second", lambda: "second"))))
    first.result(PATIENCE)
    queue.submit_short(lambda: None).result(PATIENCE)
    assert followers[0].result(PATIENCE) == "second"


def test_a_job_taken_back_in_time_never_runs(queue):
    held, ran = Held(), []
    queue.submit_short(held)
    assert held.begun.wait(PATIENCE)
    long, short = (
        queue.enqueue(Job("a run", lambda: ran.append("long"))),
        queue.submit_short(lambda: ran.append("short")),
    )
    assert long.cancel()
    assert short.cancel()
    held.let_go.set()
    with pytest.raises(CancelledError):
        long.result(PATIENCE)
    assert queue.submit_short(lambda: "alive").result(PATIENCE) == "alive"
    # Its name does not stay in the queue.
    assert queue.enqueue(Job("the next", lambda: "done")).result(PATIENCE) == "done"
    assert ran == []


def test_closing_lets_the_job_at_work_end_and_ends_the_thread(queue):
    worker = queue.submit_short(threading.get_ident).result(PATIENCE)
    held = Held()
    long = queue.enqueue(Job("a run", held))
    assert held.begun.wait(PATIENCE)
    waiting = queue.submit_short(lambda: "answer")
    queue.close()
    held.let_go.set()
    queue.join(PATIENCE)
    assert long.result(0) == "done"
    assert waiting.result(0) == "answer"
    assert not any(thread.ident == worker for thread in threading.enumerate())


@pytest.mark.parametrize("how", ["short", "long"])
def test_a_closed_engine_refuses_and_forgets_what_it_refused(how):
    queue, held, ran = JobQueue(), Held(), []
    queue.submit_short(held)
    assert held.begun.wait(PATIENCE)
    queue.close()
    with pytest.raises(BusyError, match="closing"):
        queue.submit_short(lambda: ran.append(1)) if how == "short" else queue.enqueue(
            Job("late", lambda: ran.append(1))
        )
    assert queue.busy_with is None
    held.let_go.set()
    queue.join(PATIENCE)
    assert ran == []


def test_an_engine_that_never_worked_closes_at_once():
    queue = JobQueue()
    queue.close()
    queue.join(PATIENCE)
    with pytest.raises(BusyError):
        queue.submit_short(lambda: None)
