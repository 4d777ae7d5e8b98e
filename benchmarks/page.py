"""``python -m benchmarks.page``: what the page costs, one line a thing that a person waits for.

Medians of a few repetitions in this process; run nothing else beside it. A line is a function in
``LINES`` that returns what it measured, as it should be printed, and how much of that is allowed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import datasets

from instruct_tune.config.run_config import DataSettings, RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.data.paging import Browser
from instruct_tune.data.sources import BUNDLED_FILE, load_table
from instruct_tune.data.splits import Splits, load_splits, split_rows
from instruct_tune.data.table import to_dataset
from instruct_tune.lab import Lab
from instruct_tune.util.progress import Loading

from .opened import first_content, idle_page, page_bytes, poll_bytes, scrubbing
from .served import first_step, first_token, page_start, plot_update, polling

ROWS = 20_000
Line = tuple[str, str]
"""(measured value, allowed value)."""


def milliseconds(job: Callable[[], object], repeat: int = 5) -> str:
    """The median time of ``job`` after one warm-up run."""
    job()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        job()
        times.append(time.perf_counter() - began)
    return f"{1000 * statistics.median(times):,.0f} ms"


@cache
def settings() -> DataSettings:
    """Settings of a file of 20,000 rows: repetitions of the bundled ones, each with a number added."""
    rows = [json.loads(line) for line in BUNDLED_FILE.read_text(encoding="utf-8").splitlines()]
    path = Path(tempfile.mkdtemp(prefix="lab-benchmark-")) / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(ROWS):
            row = rows[number % len(rows)]
            file.write(json.dumps({**row, "instruction": f"{row['instruction']} ({number})"}) + "\n")
    return DataSettings(source=str(path), limit=None)


@cache
def splits() -> Splits:
    """All rows, unfiltered and split."""
    return load_splits(DataSettings(source=settings().source, filters=(), limit=None))


def load() -> Line:
    """Read and check a file of 20,000 rows"""
    return milliseconds(lambda: to_dataset(load_table(settings(), Loading()), settings().columns)), "—"


def filter_and_split() -> Line:
    """Filter and split 20,000 loaded rows"""
    table = load_table(settings(), Loading())
    rows = to_dataset(table, settings().columns)
    return milliseconds(lambda: split_rows(rows, table, settings())), "1,000 ms"


def first_search() -> Line:
    """First search in 16,000 training rows"""
    train = splits().train
    return milliseconds(lambda: Browser(train).page("palindrome", "split", 1, 25)), "300 ms"


def next_search() -> Line:
    """Every other search"""
    browser = Browser(splits().train)
    return milliseconds(lambda: browser.page("palindrome", "split", 1, 25)), "300 ms"


def sort() -> Line:
    """Sort 16,000 training rows by the length of the answer"""
    train = splits().train
    return milliseconds(lambda: Browser(train).page("", "longest", 1, 25)), "300 ms"


def search_and_sort() -> Line:
    """Search and sort by instruction, last page"""
    browser = Browser(splits().train)
    return milliseconds(lambda: browser.page("a", "instruction", 10**6, 25)), "300 ms"


def report() -> Line:
    """Report on 20,000 loaded rows: lengths in tokens, duplicates, leakage"""
    views = Lab(Path(settings().source).parent, writing=False)
    config = RunConfig(data=replace(settings(), filters=()))
    return milliseconds(lambda: views.datasets.report(HOST, config), 3), "2,000 ms"


LINES: tuple[Callable[[], Line], ...] = (
    page_start, load, filter_and_split, first_search, next_search, sort, search_and_sort, report,
    plot_update, first_token, first_step, polling, page_bytes, first_content, poll_bytes, idle_page, scrubbing,
)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.page", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"only these: {', '.join(line.__name__ for line in LINES)}")
    names = parser.parse_args().names
    datasets.disable_progress_bars()
    print("| | measured | allowed |\n|---|---|---|")
    for line in LINES:
        if not names or line.__name__ in names:
            measured, allowed = line()
            print(f"| {line.__doc__} | {measured} | {allowed} |", flush=True)


if __name__ == "__main__":
    main()
