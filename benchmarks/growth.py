"""Scaling of the training cost: the time of an epoch while one quantity grows and the others stay fixed.

Measured on a small Llama with random weights, so that a curve takes seconds; its slope matters, not its height.
"""

from __future__ import annotations

import math
import random
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import LlamaConfig

from instruct_tune.config.run_config import LoraSettings
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample

from .measure import Row, Spread, alternating
from .ours import lab_trains
from .workload import Workload, random_model

VOCABULARY = 8192
SHORT = 32
"""Tokens of a row where the number of rows grows."""


@dataclass(frozen=True)
class Point:
    """One training: ``rows`` rows of ``length`` tokens, ``batch`` rows a step; LoRA rank ``r``; model ``width``."""

    rows: int = 16
    length: int = 128
    batch: int = 8
    r: int = 16
    width: int = 256


# Axis → (its values, of which ``Setting.growth`` are used; the x of a point in the plot and the exponent).
AXES: dict[str, tuple[tuple[int, ...], Callable[[Point], float]]] = {
    "rows": ((50, 200, 800, 5000), lambda point: point.rows),
    "length": ((64, 128, 512, 2048), lambda point: point.length),
    "batch": ((1, 2, 4, 8), lambda point: point.batch),
    "r": ((8, 32, 128, 512), lambda point: point.r),
    "width": ((128, 256, 384, 512), lambda point: body_parameters(point.width) / 1e6),
}
CALLED = {
    "rows": "rows",
    "length": "tokens a row",
    "batch": "rows a batch",
    "r": "LoRA rank",
    "width": "millions of body parameters",
}


def growth(work: Workload) -> Iterator[Row]:
    """How an epoch's time grows with rows, row length, batch, rank and model size"""
    for axis, (values, of) in AXES.items():
        start = Point(length=SHORT) if axis == "rows" else Point()
        points = [replace(start, **{axis: value}) for value in values[: work.setting.growth]]
        yield curve(f"growth with {CALLED[axis]}", points, of, work.setting.repeat)
    yield memory_of_a_run(work)


def memory_of_a_run(work: Workload) -> Row:
    """How much more memory this process has after an epoch of many rows than after one of few."""
    few, *_, many = AXES["rows"][0][: work.setting.growth]
    job, longer = (prepared(Point(rows=rows, length=SHORT)) for rows in (few, many))
    job()
    grown = []
    for _ in range(work.setting.repeat):
        before = _resident()
        longer()
        grown.append((_resident() - before) / 1e6)
    return Row(f"memory that an epoch of {many:,} rows leaves behind", Spread.of(grown), unit="MB", wanted="0")


def _resident() -> int:
    """Bytes of this process in memory."""
    # The second field of statm, in pages (man 5 proc).
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def curve(what: str, points: list[Point], of: Callable[[Point], float], repeat: int) -> Row:
    """Seconds an epoch at each point. The row's number is k in seconds ~ x^k, from the first and the last point."""
    xs = [of(point) for point in points]
    jobs = {str(x): prepared(point) for x, point in zip(xs, points, strict=True)}
    for job in jobs.values():
        job()
    seconds = list(alternating(jobs, repeat).values())
    exponents = [
        math.log(last / first) / math.log(xs[-1] / xs[0]) for first, last in zip(seconds[0], seconds[-1], strict=True)
    ]
    medians = [Spread.of(times).median for times in seconds]
    return Row(
        f"{what}, {xs[0]:.3g} to {xs[-1]:.3g}: an epoch takes {medians[0]:.2f} to {medians[-1]:.2f} s, exponent",
        Spread.of(exponents),
        curve=tuple(zip(xs, medians, strict=True)),
    )


def prepared(point: Point) -> Callable[[], float]:
    """A job that trains at ``point`` and returns its seconds. Model and rows are made here, outside of the timing."""
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=point.width,
        intermediate_size=3 * point.width,
        num_hidden_layers=4,
        num_attention_heads=point.width // 64,
        num_key_value_heads=point.width // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    subject, rows = random_model(config, tokenizer), random_rows(point.rows, point.length)
    lora = LoraSettings(r=point.r)
    return lambda: lab_trains(subject, rows, point.batch, lora).seconds


def body_parameters(width: int) -> int:
    """Weights of the four layers: four square projections each, and three feed-forward matrices to 3 × ``width``."""
    return 4 * (4 * width**2 + 3 * 3 * width**2)


def random_rows(count: int, length: int) -> list[TokenizedExample]:
    """``count`` rows of ``length`` random tokens; the second half of each carries loss."""
    draw, prompt = random.Random(0), length // 2
    rows = []
    for _ in range(count):
        ids = tuple(draw.randrange(3, VOCABULARY) for _ in range(length))
        rows.append(TokenizedExample(ids, (IGNORE,) * prompt + ids[prompt:], prompt, 0))
    return rows
