"""The slow tests of tests/services/test_lab_isolation.py, for the nightly run."""

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from labs import PATIENCE, cache_for, curve, finished, opened, smoke
from test_lab_isolation import disturbed, others, quiet_lab
from toys import toy_config
from transformers import AutoModelForCausalLM

from instruct_tune.config.viewer import HOST
from instruct_tune.errors import LabError
from instruct_tune.pretrained.locate import locate
from instruct_tune.pretrained.tiny_random import byte_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


def test_ten_times_in_a_row(quiet_lab, others):
    lab, alone = quiet_lab
    for _ in range(10):
        assert disturbed(lab, others)[0] == alone
