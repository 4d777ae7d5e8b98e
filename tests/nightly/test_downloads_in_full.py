"""The slow tests of tests/services/test_downloads.py, for the nightly run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_downloads import begin, ended, toy
from toy_hub import ToyHub, serving_hub

from instruct_tune.pretrained.tiny_random import make_tiny_model
from instruct_tune.util import progress as module
from instruct_tune.util.progress import Loading, megabytes


def test_the_command_line_shows_the_bytes_of_a_model(toy, tmp_path):
    toy.pause = 0.05
    with serving_hub(toy) as address:
        command = ("-m", "instruct_tune", "train", "--preset", "smoke", "--model", "some/model", "--json")
        out, err = ended(begin(tmp_path, address, *command))
    assert json.loads(out)["status"] == "finished"
    shown = [line for line in err.splitlines() if line.startswith("Downloading some/model (6 files): ")]
    assert 1 <= len(shown) <= 1 + 2 * 128 * 0.05 / module.FOLLOW_SECONDS
    assert all("MB/s" in line for line in shown)
