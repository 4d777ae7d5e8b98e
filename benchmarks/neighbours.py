"""One training alone and two at once on the same cores, under each wait policy of OpenMP threads.

The runtime reads its wait policy when it is loaded, so each training runs in a process of its own:
``python -m benchmarks.neighbours SETTING`` loads the model, prints a line when it is ready, starts to train when it
reads one, and prints its steps as JSON after ``window_seconds``. All on the CPU: on a GPU no thread waits.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from instruct_tune.util.wait_policy import BOUNDED_SPIN, CHOSEN_BY_A_PERSON, PASSIVE

from .measure import Row, Spread, alternating
from .viewers import tokens_per_second
from .workload import Setting, Workload

ROOT = Path(__file__).parents[1]
LONG_SPIN = {"GOMP_SPINCOUNT": "300000"}
"""libgomp's default."""
POLICIES = {"libgomp's own spin": LONG_SPIN, "a bounded spin": BOUNDED_SPIN, "asleep": PASSIVE}
STOCK, *OURS = POLICIES
SITUATIONS = {1: "training alone", 2: "each of two trainings at once"}
FEWEST_STEPS = 3
"""Steps to train even after the window is over: a speed needs two steps that start and end in the window."""


def neighbours(work: Workload) -> Iterator[Row]:
    """Tokens a second alone and beside another training, as threads wait in each way"""
    for processes, situation in SITUATIONS.items():
        jobs = {
            name: lambda policy=policy, processes=processes: at_once(processes, policy, work.setting)
            for name, policy in POLICIES.items()
        }
        speeds = alternating(jobs, work.setting.repeat)
        for name in OURS:
            yield Row(
                f"{situation}, threads wait {name}, tokens/s (stock: {STOCK})",
                Spread.of(speeds[name]),
                Spread.of(speeds[STOCK]),
                Spread.ratio(speeds[name], speeds[STOCK]),
                details={"tokens_per_second": speeds, "cores": os.cpu_count()},
            )


def at_once(processes: int, policy: Mapping[str, str], setting: Setting) -> float:
    """Tokens a second of one process: the mean of ``processes`` that train at the same time."""
    trainings = [_started(policy, setting) for _ in range(processes)]
    try:
        for training in trainings:
            if training.stdout.readline() != "ready\n":
                raise RuntimeError("a training ended before its first step; what it said is above")
        # All start together, so that none trains while another still loads.
        for training in trainings:
            training.stdin.write("go\n")
            training.stdin.flush()
        steps = [json.loads(training.stdout.readline()) for training in trainings]
    finally:
        for training in trainings:
            training.kill()
            training.communicate()
    return shared_speed(steps)


def shared_speed(trainings: Sequence[Sequence[dict[str, Any]]]) -> float:
    """Mean tokens a second of the trainings, over the time in which all of them trained."""
    begin = max(steps[0]["time"] for steps in trainings)
    end = min(steps[-1]["time"] for steps in trainings)
    return statistics.fmean(tokens_per_second(steps, begin, end) for steps in trainings)


def _started(policy: Mapping[str, str], setting: Setting) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_A_PERSON}
    command = [sys.executable, "-m", "benchmarks.neighbours", json.dumps(asdict(setting))]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited, **policy, "LAB_DEVICE": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None,
        text=True,
    )


def train_when_signalled(setting: Setting) -> None:
    """The child process; see the module's docstring."""
    from instruct_tune.config.run_config import LoraSettings, TrainSettings
    from instruct_tune.models import lora
    from instruct_tune.training.train import train
    from instruct_tune.training.types import TrainingData

    from .ours import LEARNING_RATE, RUN, Watch

    class Steps(Watch):
        """Records the end time and tokens of each step, and stops the run when the window is over."""

        def __init__(self) -> None:
            super().__init__()
            self.steps: list[dict[str, Any]] = []

        def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
            self.steps.append({"kind": kind, "time": time.time(), "tokens": values["tokens"]})

        def stopping(self) -> bool:
            enough = len(self.steps) > FEWEST_STEPS
            return enough and time.time() > self.steps[0]["time"] + setting.window_seconds

    work = Workload(setting)
    loaded, rows = work.subject.loaded, [ids for _, ids in work.training]
    settings = TrainSettings(
        num_train_epochs=1000,
        per_device_train_batch_size=2,
        learning_rate=LEARNING_RATE,
        probes=0,
        eval_strategy="no",
        save_strategy="no",
        save_minutes=None,
    )
    lora.attach(loaded, RUN, LoraSettings(), seed=42)
    print("ready", flush=True)
    sys.stdin.readline()
    watch = Steps()
    with tempfile.TemporaryDirectory() as folder:
        train(loaded, RUN, TrainingData(rows, [], []), settings, Path(folder), watch)
    # The first step includes one-time costs; times count from its end.
    print(json.dumps(watch.steps), flush=True)


if __name__ == "__main__":
    train_when_signalled(Setting(**json.loads(sys.argv[1])))
