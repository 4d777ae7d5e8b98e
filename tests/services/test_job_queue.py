"""The job queue, one thread for all work with torch: the order of its jobs, and which jobs it refuses."""

import contextlib
import contextvars
import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest

from instruct_tune.errors import BusyError
from instruct_tune.services.job_queue import Job, JobQueue

PATIENCE = 120.0


@pytest.fixture
def queue():
    queue = JobQueue()
    yield queue
    queue.close()
    queue.join(PATIENCE)


class Held:
    """A job that sets ``begun`` when it starts, waits for ``let_go``, and ends with ``then()``."""

    def __init__(self, then=lambda: "done"):
        self.begun, self.let_go, self.then = threading.Event(), threading.Event(), then

    def __call__(self):
        self.begun.set()
        assert self.let_go.wait(PATIENCE)
        return self.then()


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
    assert set(seen) <= {None}


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


# Whom a job works for

WHOM = contextvars.ContextVar("WHOM", default="nobody")


def working_for(whom, submit):
    """The result of ``submit`` in a context where ``WHOM`` is ``whom``."""

    def call():
        WHOM.set(whom)
        return submit()

    return contextvars.copy_context().run(call)


def test_each_job_works_for_its_submitter_and_a_short_one_between_two_steps_for_its_own(queue):
    seen, begun, asked = [], threading.Event(), threading.Event()

    def steps():
        begun.set()
        assert asked.wait(PATIENCE)
        seen.append(WHOM.get())
        queue.yield_once()
        seen.append(WHOM.get())

    run = working_for("ann", lambda: queue.enqueue(Job("a run", steps)))
    assert begun.wait(PATIENCE)
    between = working_for("bob", lambda: queue.submit_short(lambda: seen.append(WHOM.get())))
    asked.set()
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
