"""Kills a training process from outside at a chosen moment, and records the numbers that were visible until then.

The lab has no hook for this: the moments are read from the data folder, as the page and ``ls`` would.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.lab import Lab
from instruct_tune.store.connection import FILE
from instruct_tune.store.run import Run
from instruct_tune.store.run_store import RunStore

Numbers = dict[tuple[str, int], dict[str, Any]]
"""(kind, step) → metric values, without those that depend on the clock."""

CLOCK = ("seq", "time", "seconds", "tokens_per_second", "kind", "step")


def numbers(metrics: list[dict[str, Any]]) -> Numbers:
    """The store's metrics in a form in which two runs can be compared bit for bit."""
    return {(m["kind"], m["step"]): {k: v for k, v in m.items() if k not in CLOCK} for m in metrics}


def train(data_dir: Path, config: RunConfig) -> None:
    """The child process: open the lab, start or resume its only run, and wait for the end."""
    # One thread, so that sums are identical in every process of this benchmark.
    torch.set_num_threads(1)
    lab = Lab(data_dir)
    try:
        runs = lab.store.all()
        run_id = runs[0].id if runs else lab.training.start(HOST, config, "survivor")
        if runs and runs[0].status != "finished":
            lab.training.resume(HOST, run_id)
        lab.training.wait(run_id)
    finally:
        lab.close()


class Onlooker:
    """Follows a run from another process, as a page does, and adds every number measured meanwhile to ``shown``.

    ``began``: the start of the observed process, in seconds since the epoch.
    """

    def __init__(self, data_dir: Path, shown: Numbers, began: float):
        self.data_dir, self.shown = data_dir, shown
        self.store = RunStore(data_dir)
        self.seen, self.began = 0, began
        self.written = self._last_write()

    def look(self) -> Run | None:
        """The current run, after recording its new numbers; None before there is a run."""
        run = next(iter(self.store.all()), None)
        new = self.store.metrics(run.id, self.seen) if run else []
        if new:
            self.shown.update(numbers([metric for metric in new if metric["time"] > self.began]))
            self.seen = new[-1]["seq"]
        return run

    def in_phase(self, name: str) -> bool:
        """Whether the run entered phase ``name`` in this process, and not in a former process that was killed in it."""
        run = self.look()
        return run is not None and run.phase == name and self.store.changes(run.id)[-1]["time"] > self.began

    def writes(self, name: str) -> bool:
        """Whether a folder that matches ``name`` is being written for the run."""
        return any(self.data_dir.glob(f"runs/*/.partial/{name}"))

    def committing(self) -> bool:
        """Whether SQLite's write-ahead log changed since the last call."""
        before, self.written = self.written, self._last_write()
        return self.written != before

    def _last_write(self) -> int:
        log = self.data_dir / f"{FILE}-wal"
        return log.stat().st_mtime_ns if log.exists() else 0

    def close(self) -> None:
        self.store.close()


MOMENTS: dict[str, tuple[Callable[[Onlooker], bool], float]] = {
    "load": (lambda onlooker: onlooker.in_phase("loading"), 0.2),
    "step": (lambda onlooker: onlooker.in_phase("training"), 0.2),
    "evaluation": (lambda onlooker: onlooker.in_phase("evaluating"), 0.02),
    "checkpoint": (lambda onlooker: onlooker.writes("checkpoint-*"), 0.01),
    "adapter save": (lambda onlooker: onlooker.writes("adapter"), 0.004),
    "commit": (lambda onlooker: onlooker.committing(), 0.0),
}
"""Moment → (its test, the most seconds between the test and the kill)."""

ANY = "any time"


@dataclass(frozen=True)
class Moment:
    """When to kill: ``seconds`` after the start (``ANY``), or after ``name`` was seen ``skip`` + 1 times."""

    name: str
    seconds: float
    skip: int = 0

    @classmethod
    def drawn(cls, name: str, length: float, chance: random.Random) -> Moment:
        """A random moment called ``name`` in a process that takes about ``length`` seconds."""
        if name == ANY:
            return cls(name, chance.uniform(0, length))
        skip = chance.randrange(40) if name == "commit" else 0
        return cls(name, chance.uniform(0, MOMENTS[name][1]), skip)


def live_until(moment: Moment | None, data_dir: Path, config: RunConfig, shown: Numbers) -> bool:
    """Run the process until ``moment`` or its end; returns whether it was killed, not finished before."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(data_dir, config))
    began, born = time.time(), time.monotonic()
    process.start()
    # After the fork: an SQLite connection must not be carried across a fork.
    onlooker = Onlooker(data_dir, shown, began)
    skip = moment.skip if moment else 0
    try:
        while process.is_alive():
            onlooker.look()
            if moment is None or (moment.name == ANY and time.monotonic() - born < moment.seconds):
                time.sleep(0.005)
            elif moment.name == ANY or MOMENTS[moment.name][0](onlooker):
                skip -= 1
                if skip < 0:
                    time.sleep(0.0 if moment.name == ANY else moment.seconds)
                    process.kill()
                    break
    finally:
        process.join()
        onlooker.close()
    if process.exitcode not in (0, -9):
        raise RuntimeError(f"The process that trains ended with status {process.exitcode}.")
    return process.exitcode == -9
