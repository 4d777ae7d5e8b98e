"""Waiting times before a training: the report, the ledger, and the first rows of a large file."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from instruct_tune.config.run_config import RunConfig
from instruct_tune.data.splits import Example, examples, load_rows, load_splits, split_rows
from instruct_tune.inspection.dataset_report import make_report
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.util.progress import Loading

from .measure import Row, Spread, timed
from .memory import ROOT
from .workload import Workload

LEDGERS = {
    "guesses of the language": [{"step": "language", "language": "python"}],
    "near duplicates dropped": [{"step": "drop_near_duplicates"}],
}


def data(work: Workload) -> Iterator[Row]:
    """Seconds of the report and of ledgers, and of the first rows of a large file"""
    setting = work.setting
    splits = load_splits(RunConfig.from_dict({"data": {"source": setting.dataset, "filters": []}}).data)
    rows = changed([*examples(splits.train), *examples(splits.test)], setting.data_rows)
    held_out = len(rows) // 5
    seconds = [
        timed(lambda: make_report(rows[held_out:], rows[:held_out], work.subject.tokenizer, LESSON, 1024))[0]
        for _ in range(setting.repeat)
    ]
    yield Row(f"report on {len(rows):,} rows that are loaded", Spread.of(seconds), unit="s", wanted="2")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.jsonl"
        write(file, rows)
        yield from _ledgers(file, setting.repeat)
        write(file, changed(rows, setting.file_rows))
        measured = [json.loads(_in_a_fresh_process(file)) for _ in range(setting.repeat)]
    what = f"first rows of a file of {setting.file_rows:,} rows, in a fresh process"
    yield Row(what, Spread.of([process["seconds"] for process in measured]), unit="s", wanted="3", details=measured[0])
    yield Row("peak memory of that process", Spread.of([process["MB"] for process in measured]), unit="MB")


def _ledgers(file: Path, repeat: int) -> Iterator[Row]:
    settings = RunConfig.from_dict({"data": {"source": str(file), "filters": []}}).data
    loaded = load_rows(settings, Loading())
    for name, steps in LEDGERS.items():
        filtered = replace(settings, filters=RunConfig.from_dict({"data": {"filters": steps}}).data.filters)
        seconds = [timed(partial(split_rows, loaded.rows, loaded.table, filtered))[0] for _ in range(repeat)]
        yield Row(f"ledger of {loaded.table.rows:,} rows: {name}", Spread.of(seconds), unit="s", wanted="2")


def changed(rows: Sequence[Example], wanted: int) -> list[Example]:
    """``wanted`` rows: the given ones, then copies with about 30% of the instruction's words replaced by numbers."""
    made = list(rows[:wanted])
    for number in range(len(made), wanted):
        drawn, row = random.Random(number), rows[number % len(rows)]
        words = [str(drawn.randrange(10**6)) if drawn.random() < 0.3 else word for word in row.instruction.split(" ")]
        made.append(replace(row, instruction=" ".join(words)))
    return made


def write(file: Path, rows: Sequence[Example]) -> None:
    with file.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(vars(row), ensure_ascii=False) + "\n" for row in rows)


def _in_a_fresh_process(file: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.preview", str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
