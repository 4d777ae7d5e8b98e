"""Job queues for tests, and a job that waits until it may go on."""

import threading
from contextlib import contextmanager

from instruct_tune.services.job_queue import JobQueue

PATIENCE = 120.0


@contextmanager
def open_queue():
    """A queue that is closed at the end."""
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
