"""Peak memory of training: a fresh process loads the model and trains one step.

A process's peak never falls, so each way of training runs in a process of its own:
``python -m benchmarks.memory WAY BATCH SETTING`` prints the bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from .measure import Row, Spread, bytes_of_this_process
from .workload import Setting, Workload

ROOT = Path(__file__).parents[1]
WAYS = {"lab": "the lab", "sft_trainer": "TRL's SFTTrainer", "plain_loop": "a plain PyTorch loop"}


def memory(work: Workload) -> Iterator[Row]:
    """Peak memory of a step on the longest rows"""
    for batch in (8, 2):
        peaks = {way: Spread.of([_in_a_fresh_process(way, batch, work.setting) / 2**20]) for way in WAYS}
        for way in ("sft_trainer", "plain_loop"):
            yield Row(
                f"peak memory of a process that trains, batch {batch}, longest rows (stock: {WAYS[way]})",
                peaks["lab"],
                peaks[way],
                Spread.ratio([peaks[way].median], [peaks["lab"].median]),
                unit="MB",
                wanted="1",
            )


def _in_a_fresh_process(way: str, batch: int, setting: Setting) -> int:
    command = [sys.executable, "-m", "benchmarks.memory", way, str(batch), json.dumps(asdict(setting))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"training with {WAYS[way]} failed: {done.stderr[-2000:]}")
    return int(done.stdout.splitlines()[-1])


def train_a_step(way: str, batch: int, setting: Setting) -> int:
    """Train one step on the ``batch`` longest rows; returns the peak memory in bytes."""
    work = Workload(setting)
    longest = sorted(work.training, key=lambda row: -len(row[1].input_ids))[:batch]
    texts, rows = [text for text, _ in longest], [ids for _, ids in longest]
    if way == "lab":
        from .ours import lab_trains

        lab_trains(work.subject, rows, batch)
    elif way == "sft_trainer":
        from .stock import sft_trainer_trains

        sft_trainer_trains(work.subject, texts, batch)
    else:
        from .stock import plain_loop_trains

        plain_loop_trains(work.subject, rows, batch)
    return most_bytes()


def most_bytes() -> int:
    """The peak memory in bytes: of the GPU where there is one, else of this process."""
    import torch

    from instruct_tune.util.device import best_device

    if best_device() == "cuda":
        return torch.cuda.max_memory_allocated()
    return bytes_of_this_process()


if __name__ == "__main__":
    print(train_a_step(sys.argv[1], int(sys.argv[2]), Setting(**json.loads(sys.argv[3]))))
