"""``python -m benchmarks.survive``: is anything lost when the lab is killed, at any moment?

A tiny model trains once, undisturbed. Then the same run is started in processes that are killed
(SIGKILL, nobody can prepare for it) and taken up again by the next one, until it is finished: half of
the moments anywhere in time, half of them within a load, a step, an evaluation, a checkpoint, the saving of
the adapter, a commit. Exit status 1 where a run, a number that was shown, or a bit of a loss is not what it was.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Imported before the fork: a child process then takes about a second, most of it training.
import instruct_tune.training.train  # noqa: F401
from instruct_tune.config.run_config import RunConfig
from instruct_tune.store.run_store import RunStore
from instruct_tune.training.checkpoints import checkpoints, step_of
from instruct_tune.util import atomic_write

from .killing import ANY, MOMENTS, Moment, Numbers, live_until, numbers

CONFIG = RunConfig.from_dict(
    {
        "lora": {"lora_dropout": 0.1},
        "train": {
            "num_train_epochs": 6, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "probes": 4,
            "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "steps", "save_steps": 4, "save_minutes": None,
        },
    },
    "smoke",
)  # fmt: skip
"""Everything that a resume could disturb: dropout, accumulation, evaluations in mid-epoch, answers at each probe."""


@dataclass(frozen=True)
class Whole:
    """The result of an undisturbed run, and the seconds that its process took."""

    numbers: Numbers
    adapter: bytes
    seconds: float


@dataclass(frozen=True)
class Found:
    """The state after one kill in words, and how many of the shown numbers are ``lost`` or ``changed``."""

    state: str
    resumes_from: int | None
    lost: int
    changed: int
    damaged: tuple[str, ...]

    @property
    def well(self) -> bool:
        return not (self.lost or self.changed or self.damaged)


def undisturbed(folder: Path) -> Whole:
    """Train once without a kill."""
    began = time.monotonic()
    live_until(None, folder, CONFIG, {})
    seconds = time.monotonic() - began
    metrics, adapter, status = outcome(folder)
    if status != "finished":
        raise RuntimeError(f"The undisturbed run is {status}.")
    return Whole(metrics, adapter, seconds)


def outcome(data_dir: Path) -> tuple[Numbers, bytes, str]:
    """The only run's numbers, its adapter's weights (empty: none) and its status (``none``: no run)."""
    store = RunStore(data_dir)
    try:
        run = next(iter(store.all()), None)
        if run is None:
            return {}, b"", "none"
        weights = store.folder(run.id) / "adapter" / "adapter_model.safetensors"
        return numbers(store.metrics(run.id)), weights.read_bytes() if weights.exists() else b"", run.status
    finally:
        store.close()


def left_by_a_kill(data_dir: Path, shown: Numbers, whole: Whole) -> Found:
    """Inspect the data folder as the next process will read it."""
    store = RunStore(data_dir)
    try:
        run = next(iter(store.all()), None)
        if run is None:
            return Found("no run yet", None, len(shown), 0, ())
        stored, folder = numbers(store.metrics(run.id)), store.folder(run.id)
        saved_checkpoints = checkpoints(folder)
        sealed_folders = [*saved_checkpoints, *folder.glob("adapter")]
        faults = [f"{saved.name}: {fault}" for saved in sealed_folders if (fault := atomic_write.fault(saved))]
        return Found(
            state=f"{run.phase or run.status}, step {run.step}",
            resumes_from=step_of(saved_checkpoints[-1]) if saved_checkpoints else 0,
            lost=len(shown.keys() - stored.keys()),
            changed=sum(whole.numbers.get(key) != values for key, values in stored.items()),
            damaged=tuple(faults),
        )
    finally:
        store.close()


def names(kills: int, chance: random.Random) -> list[str]:
    """``kills`` moments: half at any time, half named; the names take turns in a random order."""
    named = itertools.cycle(chance.sample(list(MOMENTS), len(MOMENTS)))
    return [next(named) if number % 2 else ANY for number in range(kills)]


class Survival:
    """Runs that are killed and resumed, and the count of losses."""

    def __init__(self, folder: Path, whole: Whole, chance: random.Random):
        self.folder, self.whole, self.chance = folder, whole, chance
        self.runs = 0
        self.lost_runs: list[str] = []
        self.kills: list[Found] = []
        self._begin()

    def _begin(self) -> None:
        self.runs += 1
        self.data_dir = self.folder / f"run-{self.runs}"

    def kill(self, name: str) -> Found:
        """Kill the run at a moment called ``name``; where a run ends before the moment, check it and start the next."""
        # Numbers shown by a process must be stored after its kill. The next process repeats the steps after the last
        # checkpoint; that they come out the same is checked at the end of the run.
        shown = Numbers()
        while not live_until(Moment.drawn(name, self.whole.seconds, self.chance), self.data_dir, CONFIG, shown):
            self._check_outcome()
            self._begin()
            shown = Numbers()
        result = left_by_a_kill(self.data_dir, shown, self.whole)
        self.kills.append(result)
        return result

    def finish(self) -> None:
        """Run the last run to its end and check it."""
        live_until(None, self.data_dir, CONFIG, Numbers())
        self._check_outcome()

    def _check_outcome(self) -> None:
        metrics, adapter, status = outcome(self.data_dir)
        differs = [name for name, same in (
            (f"it is {status}", status == "finished"),
            ("its numbers differ", metrics == self.whole.numbers),
            ("its adapter differs", adapter == self.whole.adapter),
        ) if not same]  # fmt: skip
        if differs:
            self.lost_runs.append(f"run {self.runs}: {', '.join(differs)}")

    @property
    def well(self) -> bool:
        return not self.lost_runs and all(kill.well for kill in self.kills)

    def summary(self) -> str:
        """The last line of the output."""
        lost, changed = (sum(getattr(kill, what) for kill in self.kills) for what in ("lost", "changed"))
        damaged = sum(len(kill.damaged) for kill in self.kills)
        return (
            f"{len(self.kills)} kills, {self.runs} runs: {len(self.lost_runs)} runs lost, {lost} metrics lost that had "
            f"been shown, {damaged} folders damaged, losses {'' if not (changed or self.lost_runs) else 'NOT '}"
            "identical bit for bit"
        )


def table(survival: Survival, planned: list[str]) -> Iterator[str]:
    """Yield the rows of the table, each after its kill."""
    yield "| kill | wanted at | found at | resumed from step | metrics lost | losses identical |"
    yield "|---|---|---|---|---|---|"
    for number, name in enumerate(planned, start=1):
        result = survival.kill(name)
        resumes = "-" if result.resumes_from is None else result.resumes_from
        same = "yes" if not result.changed else f"{result.changed} differ"
        faults = "".join(f" ({fault})" for fault in result.damaged)
        yield f"| {number} | {name} | {result.state}{faults} | {resumes} | {result.lost} | {same} |"
    survival.finish()
    yield from survival.lost_runs


def main(arguments: list[str] | None = None) -> int:
    """Print the table and the last line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.survive", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="how many (default: 20)")
    parser.add_argument("--seed", type=int, help="of the moments (default: another one each time, which is printed)")
    args = parser.parse_args(arguments)
    seed = random.randrange(10_000) if args.seed is None else args.seed
    chance = random.Random(seed)
    warnings.simplefilter("ignore")
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAB_CACHE_DIR"] = f"{folder}/cache"
        whole = undisturbed(Path(folder, "undisturbed"))
        print(f"seed {seed}; undisturbed: {len(whole.numbers)} metrics in {whole.seconds:.1f} s\n", flush=True)
        survival = Survival(Path(folder), whole, chance)
        for line in table(survival, names(args.kills, chance)):
            print(line, flush=True)
    print(f"\n{survival.summary()}")
    return 0 if survival.well else 1


if __name__ == "__main__":
    sys.exit(main())
