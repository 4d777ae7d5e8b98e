"""After a kill at any moment nothing that was shown is lost, and the run's result is bit for bit the same."""

import os
import random
import subprocess
import sys

import pytest
from browser import ROOT

from benchmarks import survive
from benchmarks.killing import ANY, MOMENTS, Moment
from benchmarks.survive import Found, Survival, Whole


def test_half_of_the_moments_are_named_and_no_name_is_left_out():
    names = survive.names(20, random.Random(1))
    assert names.count(ANY) == 10
    assert set(names) == {ANY, *MOMENTS}


def test_a_moment_lies_within_the_life_of_the_process():
    chance = random.Random(1)
    assert all(0 <= Moment.drawn(ANY, 3.0, chance).seconds <= 3.0 for _ in range(50))
    assert {Moment.drawn("commit", 3.0, chance).skip for _ in range(50)} != {0}


GOOD = Found("training, step 3", 2, 0, 0, ())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (GOOD, "0 metrics lost that had been shown, 0 folders damaged, losses identical bit for bit"),
        (Found("training, step 3", 2, 5, 0, ()), "5 metrics lost"),
        (Found("training, step 3", 2, 0, 1, ()), "losses NOT identical"),
        (Found("saving, step 3", 2, 0, 0, ("adapter: it cannot be read",)), "1 folders damaged"),
    ],
)
def test_the_last_line_tells_what_was_lost(tmp_path, found, expected):
    survival = Survival(tmp_path, Whole({}, b"", 1.0), random.Random(1))
    survival.kills += [GOOD, found]
    assert expected in survival.summary()
    assert survival.well == (found is GOOD)


@pytest.mark.slow
def test_two_kills_are_survived():
    command = [sys.executable, "-m", "benchmarks.survive", "--kills", "2", "--seed", "3"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 runs lost, 0 metrics lost" in done.stdout
