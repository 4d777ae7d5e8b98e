"""``python -m benchmarks.recording``: what it costs a training that it can be scrubbed through.

A preset is trained with and without fixed prompts and general loss, in turns, each ``--repeat`` times. Printed are the
seconds from the first step to the end, of the clock and of the processors, and their ratio. Minutes on two cores; run
nothing else beside it: where something does, the processors' seconds are the better measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.lab import Lab
from instruct_tune.services.training_job import TrainingJob

from . import machine

TARGET = 1.15
"""The most that ``quick`` may take with them, as a multiple of what it takes without."""


@dataclasses.dataclass(frozen=True)
class Took:
    """Seconds of a training, of the clock and of all processors."""

    clock: float
    processors: float


def main() -> None:
    """Measure the named presets and print one line each."""
    parser = argparse.ArgumentParser("python -m benchmarks.recording", description=__doc__)
    parser.add_argument("presets", nargs="*", default=["minute", "quick"], help="default: minute quick")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    print(f"{machine.described()}, load before {machine.busy():.1f}")
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            for preset in args.presets:
                print(f"{preset}: {compared(lab, PRESETS[preset], args.repeat)}", flush=True)
        finally:
            lab.close()


def compared(lab: Lab, config: RunConfig, repeat: int) -> str:
    """The times with and without recording, and their ratios."""
    train(lab, dataclasses.replace(config, train=dataclasses.replace(config.train, max_steps=1)))
    pairs = [(train(lab, without(config)), train(lab, config)) for _ in range(repeat)]
    words = []
    for name in ("clock", "processors"):
        plain, recording = (statistics.median(getattr(pair[side], name) for pair in pairs) for side in (0, 1))
        words.append(f"{name} {plain:.1f} s without, {recording:.1f} s with: {recording / plain:.3f}")
    return "; ".join(words) + f" (target for quick: at most {TARGET})"


def without(config: RunConfig) -> RunConfig:
    """The same training, with no answers at the probes and no general loss."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, sample_tokens=0, general_loss=False))


def train(lab: Lab, config: RunConfig) -> Took:
    """Train, and measure from the phase ``training`` to the end of the run."""
    began: list[tuple[float, float]] = []
    phase = TrainingJob.phase

    def note(job: TrainingJob, name: str) -> None:
        phase(job, name)
        if name == "training" and not began:
            began.append((time.perf_counter(), time.process_time()))

    TrainingJob.phase = note  # type: ignore[method-assign]
    try:
        run = lab.training.wait(lab.training.start(HOST, config))
    finally:
        TrainingJob.phase = phase  # type: ignore[method-assign]
    if run.status != "finished":
        raise SystemExit(f"The run ended as {run.status}: {run.message}")
    return Took(time.perf_counter() - began[0][0], time.process_time() - began[0][1])


if __name__ == "__main__":
    main()
