"""Measurements on a served page: its start, the cost of polling, the first token of an answer."""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instruct_tune.config.viewer import HOST

if TYPE_CHECKING:
    from instruct_tune.lab import Lab

ROOT = Path(__file__).parents[1]
WATCHED_SECONDS = 20
WARM_UP_SECONDS = 45
VIEWERS = 4
REPEAT = 3
PRESET = "quick"
"""The preset whose first step is timed."""


@contextmanager
def serving(folder: str | None = None, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen, float]]:
    """``python app.py``: yields its address, its process, and the seconds until it answered.

    By default on a new data folder and a free port.
    """
    port = port or free_port()
    folder = folder or tempfile.mkdtemp(prefix="lab-benchmark-")
    with served_by(["app.py", "--port", str(port), "--data-dir", folder], port) as server:
        yield server


@contextmanager
def served_by(arguments: list[str], port: int) -> Iterator[tuple[str, subprocess.Popen, float]]:
    """Python with these arguments, which serves on ``port``: yields what ``serving`` does."""
    command = [sys.executable, *arguments]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        while not _answers(address):
            time.sleep(0.02)
        yield address, process, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's Chromium, else Playwright's own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=flags
        )
        try:
            yield browser
        finally:
            browser.close()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=1)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


def seconds_to_start(repeat: int) -> list[float]:
    """Seconds from `python app.py` until the page answers, each time in a new process."""
    times = []
    for _ in range(repeat):
        with serving() as (_, _, seconds):
            times.append(seconds)
    return times


def page_start() -> tuple[str, str]:
    """`python app.py` until the page answers"""
    return f"{statistics.median(seconds_to_start(REPEAT)):.1f} s", "5 s"


def polling() -> tuple[str, str]:
    """the server's share of a core for each browser that follows the page, the lab idle"""
    with serving() as (address, process, _), chromium() as browser:
        # The warm-up imports torch and loads the default model; that is no cost of a viewer.
        time.sleep(WARM_UP_SECONDS)
        idle = _share(process)
        for _ in range(VIEWERS):
            browser.new_page().goto(address)
        time.sleep(8)
        watched = _share(process)
    return f"{100 * (watched - idle) / VIEWERS:.1f}%", "3%"


def _share(process: subprocess.Popen) -> float:
    """CPU seconds a second of the process, over ``WATCHED_SECONDS``."""
    before = processor_seconds(process.pid)
    time.sleep(WATCHED_SECONDS)
    return (processor_seconds(process.pid) - before) / WATCHED_SECONDS


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 for one that has ended."""
    # /proc/PID/stat: utime and stime are the 14th and 15th field, in clock ticks (man 5 proc).
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def first_token() -> tuple[str, str]:
    """Compare's first streamed token on the default model, once it is loaded"""
    return f"{statistics.median(seconds_to_first_token(REPEAT)):.2f} s", "0.3 s"


def seconds_to_first_token(repeat: int) -> list[float]:
    """Seconds from a question on Compare to the first text, the default model and a run's adapter loaded."""
    from instruct_tune.lab import Lab
    from instruct_tune.runs.examples import BEST, put_recorded

    lab = Lab(Path(tempfile.mkdtemp(prefix="lab-benchmark-")))
    put_recorded(lab.store)

    def wait() -> float:
        # The answer before this one stops at its next token.
        lab.queue.submit_short(lambda: None).result()
        began = time.perf_counter()
        for texts in lab.inference.compare(HOST, BEST, "Reverse a string in Python."):
            if texts["base"] or texts["tuned"]:
                return time.perf_counter() - began
        raise RuntimeError("the model said nothing")

    wait()
    times = [wait() for _ in range(repeat)]
    lab.close()
    return times


def first_step() -> tuple[str, str]:
    """from Start of quick to its first training step, the default model loaded as a page does it"""
    return f"{statistics.median(seconds_to_first_step(REPEAT)):.1f} s", "5 s"


def seconds_to_first_step(repeat: int, warm: bool = True) -> list[float]:
    """Seconds from Start of ``PRESET`` to its first training step.

    ``warm``: in one lab that has loaded the default model and has trained before. Else each time in a lab that was
    started a moment ago.
    """
    from instruct_tune.lab import Lab

    if not warm:
        return [_first_step_after_a_start() for _ in range(repeat)]
    lab = Lab(Path(tempfile.mkdtemp(prefix="lab-benchmark-")))
    lab.default_model.get_ready()
    times = [_seconds_to_first_step(lab) for _ in range(1 + repeat)][1:]
    lab.close()
    return times


def _seconds_to_first_step(lab: Lab) -> float:
    from instruct_tune.config.run_config import RunConfig

    began = time.perf_counter()
    run_id = lab.training.start(HOST, RunConfig.from_dict({}, PRESET))
    while not any(metric["kind"] == "train" for metric in lab.runs.metrics(HOST, run_id)):
        if not lab.store.get(run_id).live:
            raise RuntimeError(lab.store.get(run_id).message)
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    lab.training.stop(HOST, run_id)
    lab.training.wait(run_id, 60)
    return seconds


def _first_step_after_a_start() -> float:
    """As ``_seconds_to_first_step``, by a script that starts the run as soon as the page answers."""
    from gradio_client import Client

    from instruct_tune.config.presets import PRESETS

    with serving() as (address, _, _):
        lab = Client(address, verbose=False)
        began = time.perf_counter()
        run_id = lab.predict(PRESETS[PRESET].to_dict(), "benchmark", api_name="/start_run")["run_id"]
        while not any(
            metric["kind"] == "train" for metric in lab.predict(run_id, 0, api_name="/run_metrics")["metrics"]
        ):
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        lab.predict(run_id, False, api_name="/stop_run")
    return seconds


def plot_update() -> tuple[str, str]:
    """an update of the live plot, a run of 2,000 steps"""
    from instruct_tune.ui.charts import loss_figure

    steps = [
        {"kind": "train", "step": step, "epoch": step / 100, "loss": 2.34567 / step, "learning_rate": 1.234e-4}
        for step in range(1, 2001)
    ]
    probes = [
        {"kind": "probe", "step": step, "epoch": step / 100, "probe_loss": 1.23456} for step in range(0, 2001, 333)
    ]
    size = len(json.dumps(loss_figure([*steps, *probes], "run", log_scale=False)))
    return f"{size / 1000:.1f} KB", "20 KB"
