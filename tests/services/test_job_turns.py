"""Turns in the job queue: its limits, whose turn is next, and for whom a job works."""

import contextlib
import contextvars
import gc
import threading
import weakref
from types import SimpleNamespace

import pytest
from queues import PATIENCE, Held, open_queue

from instruct_tune.errors import BusyError
from instruct_tune.services.job_queue import Job, JobQueue


@pytest.fixture
def queue():
    with open_queue() as queue:
        yield queue


def test_the_line_is_as_long_as_the_host_says_and_no_visitor_fills_it():
    queue, held = JobQueue(max_waiting=5, max_waiting_each=2), Held()
    queue.enqueue(Job("run tulip", held, by="ann"))
    assert held.begun.wait(PATIENCE)
    jobs = [queue.enqueue(Job("run", lambda: "done", by=by)) for by in ("ann", "ann", "bob")]
    for ask in (
        lambda: queue.enqueue(Job("one more", lambda: None, by="ann")),
        lambda: queue.refuse_when_full("ann"),
    ):
        with pytest.raises(BusyError, match="2 of yours are waiting"):
            ask()
    # Only the total limits the host's jobs.
    jobs += [queue.enqueue(Job("run", lambda: "done")) for _ in range(2)]
    for by in (None, "bob"):
        with pytest.raises(BusyError, match="5 runs and evaluations are waiting already: try again"):
            queue.enqueue(Job("one more", lambda: None, by=by))
    held.let_go.set()
    assert [job.result(PATIENCE) for job in jobs] == ["done"] * 5
    queue.close()
    queue.join(PATIENCE)


def test_fifty_at_once_leave_as_many_as_there_is_room_for(queue):
    held, taken = Held(), []
    queue.enqueue(Job("run tulip", held))
    assert held.begun.wait(PATIENCE)

    def ask():
        with contextlib.suppress(BusyError):
            taken.append(queue.enqueue(Job("another", lambda: None)))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(taken) == 16
    held.let_go.set()
    for job in taken:
        job.result(PATIENCE)


# Whom a job works for

WHOM = contextvars.ContextVar("WHOM", default="nobody")


def working_for(whom, submit):
    """The result of ``submit`` in a context where ``WHOM`` is ``whom``."""

    def call():
        WHOM.set(whom)
        return submit()

    return contextvars.copy_context().run(call)


def test_each_job_works_for_its_submitter_and_a_short_one_between_two_steps_for_its_own(queue):
    seen, begun, submitted = [], threading.Event(), threading.Event()

    def steps():
        begun.set()
        assert submitted.wait(PATIENCE)
        seen.append(WHOM.get())
        queue.yield_once()
        seen.append(WHOM.get())

    run = working_for("ann", lambda: queue.enqueue(Job("a run", steps)))
    assert begun.wait(PATIENCE)
    between = working_for("bob", lambda: queue.submit_short(lambda: seen.append(WHOM.get())))
    submitted.set()
    between.result(PATIENCE)
    run.result(PATIENCE)
    queue.submit_short(lambda: seen.append(WHOM.get())).result(PATIENCE)
    assert seen == ["ann", "bob", "ann", "nobody"]


class Secret:
    """Something that can be seen to be gone."""


def test_what_a_submitter_had_is_not_kept_after_their_job(queue):
    secrets = [Secret() for _ in range(3)]
    gone = [weakref.ref(secret) for secret in secrets]
    run = working_for(secrets[0], lambda: queue.enqueue(Job("a run", lambda: None)))
    run.result(PATIENCE)
    working_for(secrets[1], lambda: queue.submit_short(lambda: None)).result(PATIENCE)
    held = Held()
    queue.enqueue(Job("another", held))
    assert held.begun.wait(PATIENCE)
    withdrawn = working_for(secrets[2], lambda: queue.enqueue(Job("a third", lambda: None, ("run", "x"))))
    assert queue.withdraw(("run", "x")) is withdrawn
    secrets.clear()
    gc.collect()
    assert [each() for each in gone] == [None] * 3
    held.let_go.set()


def test_turns_go_round_by_person(queue):
    held, order = Held(), []
    running = queue.enqueue(Job("held", held, by="ann"))
    assert held.begun.wait(PATIENCE)
    jobs = [
        queue.enqueue(Job(name, lambda name=name: order.append(name), ("run", name), by=by))
        for name, by in (("ann 1", "ann"), ("ann 2", "ann"), ("bob 1", "bob"), ("cid 1", "cid"), ("bob 2", "bob"))
    ]
    turns = ["bob 1", "cid 1", "ann 1", "bob 2", "ann 2"]
    assert [job.label for job in queue.jobs] == ["held", *turns]
    assert [queue.position(("run", name))["place"] for name in turns] == [1, 2, 3, 4, 5]
    held.let_go.set()
    for job in (running, *jobs):
        job.result(PATIENCE)
    assert order == turns


def test_who_had_no_turn_for_long_comes_before_who_just_had_one(queue):
    for by in ("ann", "bob"):
        queue.enqueue(Job("before", lambda: None, by=by)).result(PATIENCE)
    held = Held()
    running = queue.enqueue(Job("held", held, by="host"))
    assert held.begun.wait(PATIENCE)
    for by in ("bob", "ann", "new"):
        queue.enqueue(Job(by, lambda: None, by=by))
    assert [job.label for job in queue.jobs] == ["held", "new", "ann", "bob"]
    held.let_go.set()
    running.result(PATIENCE)


def test_short_jobs_take_no_more_than_their_share_of_a_long_one(queue, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("instruct_tune.services.job_queue.time", SimpleNamespace(monotonic=lambda: now[0]))
    queue.short_share = 0.25
    steps, served, begun, ready = [0], [], threading.Event(), threading.Event()

    def short():
        served.append(steps[0])
        now[0] += 1.0

    def long():
        begun.set()
        assert ready.wait(PATIENCE)
        for _ in range(12):
            steps[0] += 1
            now[0] += 1.0
            queue.yield_once()

    job = queue.enqueue(Job("long", long))
    assert begun.wait(PATIENCE)
    waiting = [queue.submit_short(short) for _ in range(3)]
    ready.set()
    for each in (job, *waiting):
        each.result(PATIENCE)
    # The first at once; the next ones once the seconds spent are a quarter of all.
    assert served == [1, 3, 6]
