"""The main process of a ZeroGPU Space, driven by a test: one JSON request a line on stdin, one answer a line on stdout.

Started as a program: ``python -m support.zerogpu_lab DATA_DIR``. ``Space`` is the test's side.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).parents[1]


class Space:
    """The process, and its calls: ``space.call("start", config={...})``. Raises RuntimeError with its error."""

    def __init__(self, data_dir, service, **environ):
        environ = {**os.environ, "SPACES_ZERO_DEVICE_API_URL": service.url, **environ}
        self.service = service
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.zerogpu_lab", str(data_dir)],
            cwd=TESTS.parent,
            env={**environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name, **arguments):
        print(json.dumps([name, arguments]), file=self._process.stdin, flush=True)
        while line := self._process.stdout.readline():
            # spaces prints its own lines.
            if line.startswith('{"answer"'):
                answer = json.loads(line)["answer"]
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["value"]
        raise RuntimeError("The Space's process has ended.")

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)


class Turn:
    """How the next worker behaves, beside its work.

    ``steps``: it is out of time after so many optimizer steps, or reports of an evaluation. ``die``: when and how.

    ``die``: "step" (in the middle of a step), "saving" (at a checkpoint), "yielding" (while it sends a number), or
    "late" (one second before the allocated time is over).
    """

    steps = None
    die = None


def main(data_dir):
    from support import zerogpu_space

    from instruct_tune.compute import gpu_worker
    from instruct_tune.config.viewer import HOST
    from instruct_tune.errors import LabError
    from instruct_tune.lab import Lab
    from instruct_tune.services import zerogpu
    from instruct_tune.ui.gpu_allocation import zerogpu_allocator

    turns, forks = [], []
    usual = zerogpu.TURN_SECONDS, zerogpu.LEAST_SECONDS, zerogpu.QUESTION_SECONDS
    logging.basicConfig(level=logging.INFO, filename=Path(data_dir) / "log")
    _shape_workers(gpu_worker)
    allocate = zerogpu_allocator()

    def allocate_next(*arguments):
        Turn.steps, Turn.die = turns.pop(0) if turns else (None, None)
        return allocate(*arguments)

    lab = Lab(Path(data_dir), allocate=allocate_next)
    os.register_at_fork(before=lambda: forks.append(_held(lab)))

    def start(config, own=False, token=None):
        return _as_visitor(token, lambda: lab.training.start(HOST, config, own_device=own))

    def resume(run_id, own=False):
        return lab.training.resume(HOST, run_id, own)

    def wait(run_id):
        run = lab.training.wait(run_id, 120)
        return {"status": run.status, "message": run.message, "kind": run.error_kind, "step": run.step}

    def status(run_id):
        return lab.training.status(HOST, run_id)["status"]

    def curve(run_id):
        wanted = ("loss", "grad_norm", "probe_loss", "eval_loss", "general_loss", "bleu")
        return [
            [metric["kind"], metric["step"], {name: metric[name] for name in wanted if name in metric}]
            for metric in sorted(lab.runs.metrics(HOST, run_id), key=lambda each: (each["kind"], each["step"]))
        ]

    def compare(run_id, text, close_after=None):
        states = lab.inference.compare(HOST, run_id, text)
        seen = []
        for state in states:
            seen.append(state)
            if close_after and len(seen) >= close_after:
                states.close()
        return seen

    def evaluate(run_id, limit, own=False, tokens=6):
        generation = {"max_new_tokens": tokens}
        return lab.evaluations.start(HOST, run_id, limit, generation, own_device=own).result(120)

    def losses(run_id):
        row = lab.answerers.held_out_row(HOST, run_id, 0)
        return len(lab.inference.token_losses(HOST, run_id, row).tokens)

    def effect(run_id):
        return lab.inference.adapter_effect(HOST, run_id).kl

    def cost(config):
        return lab.estimates.cost(HOST, config, lent=True)

    def answer_slowly(run_id, text):
        """Ask for an answer that takes long, stop it when a worker has it, and tell how long the end takes."""
        stop = threading.Event()
        before = len(forks)

        def stop_when_begun():
            while len(forks) == before:
                time.sleep(0.01)
            time.sleep(0.5)
            stop.set()

        threading.Thread(target=stop_when_begun).start()
        try:
            list(lab.inference.search(HOST, run_id, text, "", 64, stop))
        except LabError as error:
            return str(error)

    def resume_at_once(run_id):
        """Stop the run and resume it in the moment in which it has its last status; whether it can be stopped again."""
        lab.training.stop(HOST, run_id)
        while lab.store.get(run_id).live:
            time.sleep(0.001)
        lab.training.resume(HOST, run_id)
        again = lab.training._current.get
        deadline = time.monotonic() + 60
        while again(run_id) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return lab.training.stop(HOST, run_id)

    def end():
        """Close the lab as a signal does; the status of every run."""
        lab.shutdown()
        lab.close()
        from instruct_tune.store.run_store import RunStore

        store = RunStore(Path(data_dir))
        return {run.id: run.status for run in store.all()}

    def shape(plan):
        turns[:] = plan

    def shorten(seconds):
        zerogpu.TURN_SECONDS, zerogpu.LEAST_SECONDS, zerogpu.QUESTION_SECONDS = (seconds,) * 3 if seconds else usual

    def impatient(seconds):
        from spaces.zero import client

        url = os.environ["SPACES_ZERO_DEVICE_API_URL"]
        client.api_client = lambda: client.APIClient(client.httpx.Client(base_url=url, timeout=seconds))

    def report():
        jobs = [job.label for job in lab.devices.jobs]
        return {"pid": os.getpid(), "cuda": zerogpu_space.CUDA_INITIALISED, "held": forks, "jobs": jobs}

    calls = {
        each.__name__: each
        for each in (
            start, resume, wait, status, curve, compare, evaluate, losses, effect, cost, answer_slowly,
            resume_at_once, end, shape, shorten, impatient, report,
        )
    }  # fmt: skip
    calls["stop"] = lambda run_id: lab.training.stop(HOST, run_id)
    # Not by sys.stdin, whose lock this thread would hold while it waits: a fork, which closes it, would wait as well.
    for line in _lines(os.dup(sys.stdin.fileno())):
        name, arguments = json.loads(line)
        try:
            answer = {"value": calls[name](**arguments)}
        except LabError as error:
            answer = {"error": str(error)}
        print(json.dumps({"answer": answer}), flush=True)
    lab.close()


def _lines(source):
    rest = b""
    while read := os.read(source, 65536):
        *lines, rest = (rest + read).split(b"\n")
        yield from lines


def _shape_workers(gpu_worker):
    """Let the workers to come behave as ``Turn`` says."""

    class Events(gpu_worker._Events):
        def __init__(self, stop_file, until):
            super().__init__(stop_file, until)
            self._steps = 0
            if Turn.die == "late":
                left = until + gpu_worker.SECONDS_TO_SAVE - 1 - gpu_worker.time.monotonic()
                threading.Timer(left, _die).start()

        @property
        def out_of_time(self):
            return super().out_of_time or (Turn.steps is not None and self._steps >= Turn.steps)

        def progress(self, step, total):
            self._steps += 1
            self.news.put(gpu_worker.Reported("progress", (step, total), {}))

        def report(self, **news):
            self._steps += 1
            self.news.put(gpu_worker.Reported("report", (), news))

        def stopping(self):
            if Turn.die == "step" and self._steps == 3:
                _die()
            return super().stopping()

        def phase(self, name):
            self.news.put(gpu_worker.Reported("phase", (name,), {}))
            if Turn.die == "saving" and name == "saving" and self._steps >= 3:
                _die()

        def metric(self, kind, step, epoch, values):
            if Turn.die == "yielding" and step == 3:
                values = _Deadly()
            self.news.put(gpu_worker.Reported("metric", (kind, step, epoch, values), {}))

    gpu_worker._Events = Events


class _Deadly:
    def __reduce__(self):
        _die()


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _held(lab):
    """The locks of the lab's services, and of logging, that are held now, by this thread or another."""
    owners = [*vars(lab).values(), lab.devices._lent, lab.devices._lent._threads]
    locks = {
        f"{type(owner).__name__}.{name}": value
        for owner in owners
        if hasattr(owner, "__dict__")
        for name, value in vars(owner).items()
        if hasattr(value, "acquire")
    }
    handlers = [handler for name in (None, "instruct_tune") for handler in logging.getLogger(name).handlers]
    locks |= {f"handler {number}": handler.lock for number, handler in enumerate(handlers)}
    with ThreadPoolExecutor(1) as other_thread:
        return other_thread.submit(lambda: [name for name, lock in locks.items() if not _is_free(lock)]).result()


def _is_free(lock):
    free = lock.acquire(blocking=False)
    if free:
        lock.release()
    return free


def _as_visitor(token, work):
    """The result of ``work`` inside a request with that token of the platform; None for a visitor who has none."""
    import gradio as gr
    from gradio.context import LocalContext

    class Headers(dict):
        """spaces reads the headers of a request as those of an object."""

    request = gr.Request(headers=Headers({"x-ip-token": token} if token else {}))
    mark = LocalContext.request.set(request)
    try:
        return work()
    finally:
        LocalContext.request.reset(mark)


if __name__ == "__main__":
    main(sys.argv[1])
