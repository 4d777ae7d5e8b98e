"""``python -m benchmarks``: the lab beside what people would use instead; a table, and with flags JSON and a plot.

Same weights, same rows, same settings, in one process, alternating; medians are printed, and the
ratio's lowest and highest. Run nothing else beside it. Figures of different machines do not
compare; the ratios of one run do.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import datasets
from transformers.utils import logging as transformers_logging

from instruct_tune.util.device import best_device

from . import machine, report
from .compare import beams, greedy, peak, training
from .data import data
from .evaluation import evaluation
from .growth import growth
from .lesson_shape import lesson_shape
from .measure import Row
from .memory import memory
from .merging import merging
from .neighbours import neighbours
from .profile import profile
from .viewers import viewers
from .waits import conversion, first_step, first_token, idle, page_start
from .workload import QUICK, Setting, Workload

Line = Callable[[Workload], Iterator[Row]]

LINES: tuple[Line, ...] = (
    *(peak, training, profile, memory, greedy, beams, evaluation, merging),
    *(page_start, conversion, first_step, first_token, idle, viewers, data, growth, lesson_shape, neighbours),
)
LONG = (evaluation, merging, lesson_shape, neighbours)
"""Lines that take long: without CUDA, they run only if named."""

FLAGS = {
    "model": "the model both sides train and ask",
    "dataset": "as data.source; its rows are what is trained on and asked",
    "rows": "training rows of an epoch",
    "prompts": "prompts that the lab answers in a repetition",
    "stock_prompts": "prompts of those that the pipeline answers",
    "new_tokens": "the most tokens of an answer",
    "repeat": "repetitions, alternating; medians are told",
}


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line. Defaults are the setting of docs/benchmarks.md, or that of ``--quick``."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    names = [line.__name__ for line in LINES]
    parser.add_argument("names", nargs="*", metavar="LINE", help=f"which of {', '.join(names)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rows, once: about two minutes, a first impression")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured, spreads included")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture (PNG)")
    for name, text in FLAGS.items():
        kind = str if name in ("model", "dataset") else int
        default = getattr(Setting(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{text} (default: {default})")
    args = parser.parse_args(arguments)
    if unknown := set(args.names) - set(names):
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(names)}")
    return args


def measured(names: list[str], setting: Setting) -> Iterator[Row]:
    """Measure the named lines, or the usual ones, and yield each row when it is done."""
    work = Workload(setting)
    for line in LINES:
        by_default = line not in LONG or best_device() == "cuda"
        if line.__name__ in names or (by_default and not names):
            yield from line(work)


def main(arguments: list[str] | None = None) -> None:
    """Print the table and write the requested files."""
    args = parsed(arguments)
    flags = {name: value for name, value in vars(args).items() if name in FLAGS and value is not None}
    setting = replace(QUICK if args.quick else Setting(), **flags)
    _quiet()
    began, load = time.perf_counter(), machine.busy()
    print(f"{machine.described()}; {setting.model}; {setting.dataset}\n\n{report.HEAD}", flush=True)
    rows: list[Row] = []
    try:
        for row in measured(args.names, setting):
            rows.append(row)
            print(report.table_row(row), flush=True)
    finally:
        # What was measured in an hour is kept where a later line fails.
        conditions = {"machine": machine.described(), "load_before": load, "setting": asdict(setting)}
        conditions["seconds"] = round(time.perf_counter() - began)
        print(f"{conditions['seconds']} s; load before {load:.1f}, now {machine.busy():.1f}", file=sys.stderr)
        if args.json:
            report.write_json(args.json, rows, conditions)
        if args.plot:
            report.write_plot(args.plot, rows, f"{setting.model} on {machine.described()}")


def _quiet() -> None:
    """Silence progress bars and warnings, so that only the table is printed."""
    warnings.simplefilter("ignore")
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


if __name__ == "__main__":
    main()
