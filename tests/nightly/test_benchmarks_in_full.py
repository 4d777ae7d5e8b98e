"""The slow tests of tests/training/test_benchmarks.py, for the nightly run."""

import json
import subprocess
from dataclasses import replace

import pytest
import torch
from PIL import Image
from test_benchmarks import SMALLEST, quick
from transformers import AutoModelForCausalLM, OPTConfig

from benchmarks import __main__ as command
from benchmarks import (
    compare,
    data,
    evaluation,
    growth,
    lesson_shape,
    measure,
    memory,
    merging,
    neighbours,
    peak,
    profile,
    report,
    viewers,
)
from benchmarks.measure import Row, Spread, alternating
from benchmarks.ours import Trained
from benchmarks.stock import padded
from benchmarks.workload import Setting, Workload
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample


def test_viewers_of_a_served_page_follow_the_run(monkeypatch):
    monkeypatch.setattr(viewers, "SETTLE_SECONDS", 0.2)
    (row,) = viewers.viewers(Workload(SMALLEST))
    assert row.details["polls"] >= 2
    assert {many: len(speeds) for many, speeds in row.details["tokens_per_second"].items()} == {0: 4, 2: 4}
    assert row.details["noise"] >= 0


def test_two_trainings_at_once_are_two_processes_that_wait_as_configured():
    assert neighbours.at_once(2, {"OMP_WAIT_POLICY": "PASSIVE"}, SMALLEST) > 0
