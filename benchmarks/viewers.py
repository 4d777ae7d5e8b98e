"""The page beside a run that trains: its start, and what it costs the run when many people follow it.

A viewer here is what the server notices of a browser: the requests of a page that is opened, then
the page's timer whenever the page is told to ask (once a second at first), each answered in full.
It draws nothing, for a browser that draws runs on its viewer's machine; the little that these cost
on this one counts against the lab.
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
from .served import seconds_to_start, serving
from .workload import Setting, Workload

SETTLE_SECONDS = 8
"""After the viewers have opened the page; then the windows begin."""
BATCH = 4
"""Rows of every step: few, so that a window holds many steps."""
PAIRS_A_REPETITION = 4
"""Pairs of windows, one without polls and one with, for each of ``--repeat``."""


class Viewer:
    """A browser that shows the page: opened once, then polling; it keeps its connection, as browsers do."""

    def __init__(self, address: str, config: dict[str, Any]):
        self.session = secrets.token_hex(8)
        self.server = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        self.given = {each["id"]: each["props"].get("value") for each in config["components"]}
        self.timer = next(
            each["id"] for each in config["components"] if each["type"] == "timer" and each["props"]["active"]
        )
        self.opening = _handlers(config, "load")
        (self.tick,) = [each for each in _handlers(config, "tick") if each["targets"][0][0] == self.timer]

    def arrive(self) -> None:
        """What a page asks for when it is opened."""
        for handler in self.opening:
            self.post(handler)

    def poll(self) -> list[Any]:
        """What the timer asks for; the answer may set the timer anew."""
        told = self.post(self.tick)
        timer = self.tick["outputs"].index(self.timer)
        self.given[self.timer] = told[timer].get("value", self.given[self.timer])
        return told

    @property
    def every(self) -> float:
        """Seconds between two polls."""
        return self.given[self.timer]

    def post(self, handler: dict[str, Any]) -> list[Any]:
        """The handler's answer to what the page holds when it is opened; gradio keeps its own states."""
        body = {
            "data": [self.given[component] for component in handler["inputs"]],
            "fn_index": handler["id"],
            "session_hash": self.session,
        }
        try:
            status, told = self._ask(json.dumps(body))
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            # Between two polls the server may close a connection that nothing went over; browsers open another.
            self.server.close()
            status, told = self._ask(json.dumps(body))
        if status != 200:
            raise RuntimeError(f"a viewer was told {told}")
        return told["data"]

    def _ask(self, body: str) -> tuple[int, dict[str, Any]]:
        self.server.request("POST", "/gradio_api/run/predict", body, {"Content-Type": "application/json"})
        answer = self.server.getresponse()
        return answer.status, json.loads(answer.read())


def _handlers(config: dict[str, Any], event: str) -> list[dict[str, Any]]:
    return [
        each
        for each in config["dependencies"]
        if each["backend_fn"] and not each["queue"] and any(target[1] == event for target in each["targets"])
    ]


@contextmanager
def watching(address: str, viewers: int, looking: threading.Event) -> Iterator[list[int]]:
    """Viewers of the page, until the block ends; yields how many polls each has made so far.

    They poll while ``looking`` is set; else they are there and ask nothing, as browsers do whose tab is hidden.
    """
    with urllib.request.urlopen(f"{address}/config", timeout=60) as told:
        config = json.load(told)
    over, polls = threading.Event(), [0] * viewers

    def watch(number: int) -> None:
        viewer = Viewer(address, config)
        viewer.arrive()
        # Spread over the second, as people are who came one by one.
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


def page_start(work: Workload) -> Iterator[Row]:
    """`python app.py` until the page answers"""
    yield Row("page start", Spread.of(seconds_to_start(work.setting.repeat)), unit="s", wanted="4 s")


def viewers(work: Workload) -> Iterator[Row]:
    """How much a run slows down while 20 viewers follow it"""
    setting, looking = work.setting, threading.Event()
    pairs = setting.repeat * PAIRS_A_REPETITION
    with serving() as (address, _, _):
        lab = Client(address, verbose=False)
        run_id = _start(lab, setting)
        looking.set()
        with watching(address, setting.viewers, looking) as polls:
            time.sleep(SETTLE_SECONDS)
            asked, windows = sum(polls), []
            # Without, with, with, without, ...: what makes the machine slower and slower favours neither.
            for watched in [which for pair in range(pairs) for which in ((False, True), (True, False))[pair % 2]]:
                (looking.set if watched else looking.clear)()
                windows.append((watched, *_window(setting.window_seconds)))
            asked = sum(polls) - asked
        steps = lab.predict(run_id, 0, api_name="/run_metrics")["metrics"]
        lab.predict(run_id, False, api_name="/stop_run")
    speeds = [(watched, tokens_per_second(steps, begin, end)) for watched, begin, end in windows]
    without = [speed for watched, speed in speeds if not watched]
    with_ = [speed for watched, speed in speeds if watched]
    told = {
        "tokens_per_second": {0: without, setting.viewers: with_},
        "polls": asked,
        "polls_per_second": asked / (pairs * setting.window_seconds),
        "noise": noise([speed for _, speed in speeds]),
        "cores": os.cpu_count(),
    }
    yield Row(
        f"slow-down of training by {setting.viewers} viewers on the page (95% interval)",
        Spread.interval([100 * (1 - b / a) for a, b in zip(without, with_, strict=True)]),
        unit="%",
        wanted="3%",
        details=told,
    )


def noise(speeds: Sequence[float]) -> float:
    """How far windows that were measured alike, one after the other, are apart: the median, in percent.

    ``speeds`` of windows without, with, with, without, without, with, ...: every second neighbour is alike.
    """
    return statistics.median(100 * abs(1 - b / a) for a, b in zip(speeds[1::2], speeds[2::2], strict=False))


def _window(seconds: float) -> tuple[float, float]:
    """Let time pass; its beginning and end on the clock that metrics carry."""
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


def _start(lab: Client, setting: Setting) -> str:
    """Start a run whose every step does the same work, and wait until it is at its fifth."""
    source = os.path.abspath(setting.dataset) if os.path.exists(setting.dataset) else setting.dataset
    never = {"probes": 0, "eval_strategy": "no", "save_strategy": "no", "save_minutes": None}
    config = {
        "model": setting.model,
        "data": {"source": source, "limit": BATCH},
        "train": {"num_train_epochs": 1000, "per_device_train_batch_size": BATCH, **never},
    }
    run_id = lab.predict(config, "benchmark", api_name="/start_run")["run_id"]
    while (told := lab.predict(run_id, api_name="/run_status"))["step"] < 5:
        if told["status"] not in ("queued", "running"):
            raise RuntimeError(f"the run ended as {told['status']}: {told['message']}")
        time.sleep(0.2)
    return run_id


def tokens_per_second(steps: Sequence[dict[str, Any]], begin: float, end: float) -> float:
    """Over the steps that began and ended between two moments, all that happened between them included."""
    within = [step for step in steps if step["kind"] == "train" and begin <= step["time"] <= end]
    if len(within) < 2:
        raise RuntimeError("not two steps in a window: give more window_seconds")
    return sum(step["tokens"] for step in within[1:]) / (within[-1]["time"] - within[0]["time"])
