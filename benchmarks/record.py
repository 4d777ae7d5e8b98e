"""``python -m benchmarks.record``: train the runs that come with the project, for real, and write them as assets.

Each is trained by the lab itself, its adapter rounded to 16 bits, and measured as it is then, so
that what the page shows of it is what anybody gets who loads it. Minutes on two cores; run nothing
else beside it, for its times are kept too. Name one or more to record only those.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.lab import Lab
from instruct_tune.models.lora import CONFIG_FILE, WEIGHTS_FILE
from instruct_tune.runs.examples import ASSETS, PREFIX
from instruct_tune.training.checkpoints import checkpoints
from instruct_tune.util.atomic_write import atomic_folder

from . import machine

RECORDED = {
    "save_strategy": "no",
    "save_minutes": None,
    "held_out_prompts": 3,
    "training_prompts": 1,
    "sample_every": 1,
    "own_prompts": ["Write a Python function that reverses a string.", "What is the capital of France?"],
}
"""Six prompts: one own prompt is like the rows, the other is not. Checkpoints are kept where a plan says so."""
BLEU_AT_EVERY_FOURTH_STEP = {"eval_strategy": "steps", "eval_steps": 4, "bleu_rows": 40}
# More rows are held out than usual: on 40 the interval of a difference is as wide as the difference.
DATA = {"test_size": 0.3}
EVALUATED = 200
"""Held-out rows that each run is evaluated on."""


@dataclass(frozen=True)
class Plan:
    """A run to record: its title, its preset, and the changes to that."""

    title: str
    preset: str
    train: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return RunConfig.from_dict({"train": {**RECORDED, **self.train}, "data": DATA}, self.preset)


# Recorded in this order, so that the good run is the newest.
PLAN: dict[str, Plan] = {
    "overfit": Plan("Eight rows learned by heart", "overfit"),
    "too-high": Plan(
        "Learning rate far too high: 2e-2", "minute", {"learning_rate": 2e-2, **BLEU_AT_EVERY_FOURTH_STEP}
    ),
    "good": Plan(
        "A good minute: 48 rows at 2e-3",
        "minute",
        {**BLEU_AT_EVERY_FOURTH_STEP, "save_strategy": "steps", "save_steps": 4},
    ),
}


def main() -> None:
    """Record the named runs, or all, and print the result of each."""
    parser = argparse.ArgumentParser("python -m benchmarks.record", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(PLAN)} (default: all)")
    args = parser.parse_args()
    if unknown := set(args.names) - set(PLAN):
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(PLAN)}")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("instruct_tune").setLevel(logging.INFO)
    for name in args.names or PLAN:
        print(f"{name}: {record(name, ASSETS / name)}", flush=True)


def record(name: str, to: Path) -> str:
    """Train one run of the plan, round its adapter and evaluate it. Replaces the folder ``to``; returns the result."""
    plan = PLAN[name]
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            busy = machine.busy()
            run_id = lab.training.start(HOST, plan.config, plan.title)
            run = lab.training.wait(run_id)
            if run.status != "finished":
                raise SystemExit(f"{name} ended as {run.status}: {run.message}")
            folder_of_run = lab.store.folder(run_id)
            for adapter in (folder_of_run / "adapter", *checkpoints(folder_of_run)):
                in_16_bits(adapter)
            lab.store.update(run_id, provenance={"recorded": recorded_on(busy)})
            *_, scores = lab.evaluations.stream(HOST, run_id, EVALUATED)
            write(lab, run_id, f"{PREFIX}{name}", to)
        finally:
            lab.close()
    return (
        f"{run.message} base {scores['base']['bleu']:.1f}, tuned {scores['tuned']['bleu']:.1f} BLEU on "
        f"{EVALUATED} rows, difference {scores['delta']:+.1f}, interval {scores['delta_ci']}"
    )


def in_16_bits(adapter: Path) -> None:
    """Round a saved adapter to float16 in place: half the size, with differences far below training noise."""
    from safetensors.torch import load_file, save_file

    rounded = {name: tensor.half() for name, tensor in load_file(adapter / WEIGHTS_FILE).items()}
    with atomic_folder(adapter) as written:
        shutil.copyfile(adapter / CONFIG_FILE, written / CONFIG_FILE)
        save_file(rounded, written / WEIGHTS_FILE, {"format": "pt"})


def recorded_on(busy: float) -> dict[str, Any]:
    """The machine without its name, the date, the load before the run, and the system."""
    return {
        "machine": machine.described(),
        "date": datetime.date.today().isoformat(),
        "load_before": round(busy, 1),
        "system": f"{platform.system()}, Python {platform.python_version()}",
    }


def write(lab: Lab, run_id: str, known_as: str, to: Path) -> None:
    """Write the run as files for ``instruct_tune.runs.examples``; they name no machine and no folder."""
    run, source = lab.store.get(run_id), lab.store.folder(run_id)
    shutil.rmtree(to, ignore_errors=True)
    for adapter in (source / "adapter", *checkpoints(source)):
        if adapter.name != f"checkpoint-{run.step}":
            (to / adapter.name).mkdir(parents=True)
            for file in (WEIGHTS_FILE, CONFIG_FILE):
                shutil.copyfile(adapter / file, to / adapter.name / file)
    shutil.copyfile(source / "predictions.jsonl", to / "predictions.jsonl")
    fields = {name: getattr(run, name) for name in ("name", "status", "message", "step", "total_steps")}
    fields |= {"created": run.created, "ended": run.ended, "config": run.config}
    fields["facts"] = {name: value for name, value in run.provenance.items() if name != "model_path"}
    _write_json(to / "run.json", {"id": known_as, **fields})
    evaluation = {k: v for k, v in lab.store.evaluations(run_id)[0].items() if k != "predictions"}
    _write_json(to / "evaluation.json", {**evaluation, "run_id": known_as})
    _write_lines(
        to / "metrics.jsonl", ({k: v for k, v in m.items() if k != "seq"} for m in lab.runs.metrics(HOST, run_id))
    )
    _write_lines(to / "events.jsonl", lab.store.events(run_id))
    _write_lines(to / "samples.jsonl", lab.store.samples(run_id))


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
