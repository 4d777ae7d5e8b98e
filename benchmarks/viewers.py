"""The page during a training run: how much many viewers slow the run down.

A viewer simulates the requests of a browser: those of opening the page, then the poll of the page's timer at the
interval that the page sets (one second at first), each answered in full. It renders nothing, because real browsers
render on their own machines; the small cost of the viewers on this machine counts against the lab.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from gradio_client import Client

from .measure import Row, Spread
from .served import serving
from .workload import Setting, Workload

SETTLE_SECONDS = 8
"""Wait after the viewers have opened the page, before the first window."""
BATCH = 4
"""Rows a step: few, so that a window holds many steps."""
STEPS_A_WINDOW = 4
"""Fewest steps that a window holds, however long they take."""
PAIRS_A_REPETITION = 4
"""Pairs of windows, one without polls and one with, in each repetition of ``--repeat``."""


class Viewer:
    """A simulated browser: it opens the page once, then polls over one kept connection, as browsers do."""

    def __init__(self, address: str, config: dict[str, Any]):
        self.session = secrets.token_hex(8)
        self.server = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        self.given = {item["id"]: item["props"].get("value") for item in config["components"]}
        self.timer = next(
            item["id"] for item in config["components"] if item["type"] == "timer" and item["props"]["active"]
        )
        self.opening = _handlers(config, "load")
        (self.tick,) = [item for item in _handlers(config, "tick") if item["targets"][0][0] == self.timer]

    def arrive(self) -> None:
        """Send the requests of opening the page."""
        for handler in self.opening:
            self.post(handler)

    def poll(self) -> list[Any]:
        """Send the timer's request; the answer may change the timer's interval."""
        outputs = self.post(self.tick)
        timer = self.tick["outputs"].index(self.timer)
        self.given[self.timer] = outputs[timer].get("value", self.given[self.timer])
        return outputs

    @property
    def every(self) -> float:
        """Seconds between two polls."""
        return self.given[self.timer]

    def post(self, handler: dict[str, Any]) -> list[Any]:
        """Call a handler with the values of the page as opened; gradio keeps session state itself.

        Raises RuntimeError where the server does not answer with status 200.
        """
        body = {
            "data": [self.given[component] for component in handler["inputs"]],
            "fn_index": handler["id"],
            "session_hash": self.session,
        }
        try:
            status, answer = self._send(json.dumps(body))
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            # The server may close an idle connection between two polls; browsers then open another.
            self.server.close()
            status, answer = self._send(json.dumps(body))
        if status != 200:
            raise RuntimeError(f"a viewer was told {answer}")
        return answer["data"]

    def _send(self, body: str) -> tuple[int, dict[str, Any]]:
        self.server.request("POST", "/gradio_api/run/predict", body, {"Content-Type": "application/json"})
        answer = self.server.getresponse()
        return answer.status, json.loads(answer.read())


def _handlers(config: dict[str, Any], event: str) -> list[dict[str, Any]]:
    return [
        handler
        for handler in config["dependencies"]
        if handler["backend_fn"] and not handler["queue"] and any(target[1] == event for target in handler["targets"])
    ]


@contextmanager
def watching(address: str, viewers: int, looking: threading.Event) -> Iterator[list[int]]:
    """Run ``viewers`` threads of one viewer each until the block ends; yields the number of polls of each.

    They poll while ``looking`` is set; else they send nothing, like browsers whose tab is hidden.
    """
    with urllib.request.urlopen(f"{address}/config", timeout=60) as response:
        config = json.load(response)
    over, polls = threading.Event(), [0] * viewers

    def watch(number: int) -> None:
        viewer = Viewer(address, config)
        viewer.arrive()
        # Spread over the interval, like people who arrive one by one.
        while not over.wait(viewer.every if polls[number] else viewer.every * number / viewers):
            if looking.is_set():
                viewer.poll()
                polls[number] += 1

    with ThreadPoolExecutor(viewers) as threads:
        watchers = [threads.submit(watch, number) for number in range(viewers)]
        try:
            yield polls
        finally:
            over.set()
        for watcher in watchers:
            watcher.result()


def viewers(work: Workload) -> Iterator[Row]:
    """How much a run slows down while 20 viewers follow it"""
    setting, looking = work.setting, threading.Event()
    pairs = setting.repeat * PAIRS_A_REPETITION
    with serving() as (address, _, _):
        lab = Client(address, verbose=False)
        run_id = _start(lab, setting)
        step = statistics.median(each["seconds"] for each in _steps(lab, run_id))
        seconds = max(setting.window_seconds, (STEPS_A_WINDOW + 1) * step)
        looking.set()
        with watching(address, setting.viewers, looking) as polls:
            time.sleep(SETTLE_SECONDS)
            poll_count, windows = sum(polls), []
            # Without, with, with, without, ...: so a machine that slows down steadily favours neither.
            for watched in [which for pair in range(pairs) for which in ((False, True), (True, False))[pair % 2]]:
                (looking.set if watched else looking.clear)()
                windows.append((watched, *_window(seconds)))
            poll_count = sum(polls) - poll_count
        steps = _steps(lab, run_id)
        lab.predict(run_id, False, api_name="/stop_run")
    speeds = [(watched, tokens_per_second(steps, begin, end)) for watched, begin, end in windows]
    without = [speed for watched, speed in speeds if not watched]
    with_ = [speed for watched, speed in speeds if watched]
    details = {
        "tokens_per_second": {0: without, setting.viewers: with_},
        "polls": poll_count,
        "polls_per_second": poll_count / (pairs * seconds),
        "noise": noise([speed for _, speed in speeds]),
        "cores": os.cpu_count(),
    }
    yield Row(
        f"slow-down of training by {setting.viewers} viewers on the page (95% interval)",
        Spread.interval([100 * (1 - b / a) for a, b in zip(without, with_, strict=True)]),
        unit="%",
        wanted="3%",
        details=details,
    )


def noise(speeds: Sequence[float]) -> float:
    """The median difference of consecutive windows of the same kind, in percent.

    ``speeds`` are of windows without, with, with, without, without, with, ...: every second pair is of the same kind.
    """
    return statistics.median(100 * abs(1 - b / a) for a, b in zip(speeds[1::2], speeds[2::2], strict=False))


def _window(seconds: float) -> tuple[float, float]:
    """Sleep; returns start and end on the clock that metrics use."""
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def _start(lab: Client, setting: Setting) -> str:
    """Start a run whose steps all do the same work, and wait for its fifth step."""
    source = os.path.abspath(setting.dataset) if os.path.exists(setting.dataset) else setting.dataset
    never = {"probes": 0, "eval_strategy": "no", "save_strategy": "no", "save_minutes": None}
    config = {
        "model": setting.model,
        "data": {"source": source, "limit": BATCH},
        "train": {"num_train_epochs": 1000, "per_device_train_batch_size": BATCH, **never},
    }
    run_id = lab.predict(config, "benchmark", api_name="/start_run")["run_id"]
    while (status := lab.predict(run_id, api_name="/run_status"))["step"] < 5:
        if status["status"] not in ("queued", "running"):
            raise RuntimeError(f"the run ended as {status['status']}: {status['message']}")
        time.sleep(0.2)
    return run_id


def _steps(lab: Client, run_id: str) -> list[dict[str, Any]]:
    metrics = lab.predict(run_id, 0, api_name="/run_metrics")["metrics"]
    return [metric for metric in metrics if metric["kind"] == "train"]


def tokens_per_second(steps: Sequence[dict[str, Any]], begin: float, end: float) -> float:
    """Tokens a second over the steps that started and ended between two times, pauses between steps included."""
    within = [step for step in steps if step["kind"] == "train" and begin <= step["time"] <= end]
    if len(within) < 2:
        raise RuntimeError("not two steps in a window: give more window_seconds")
    return sum(step["tokens"] for step in within[1:]) / (within[-1]["time"] - within[0]["time"])
