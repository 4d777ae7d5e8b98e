"""The warning for a run that needs more memory than is free agrees with what the run then does."""

import pytest

from instruct_tune.config.run_config import RunConfig, TrainSettings
from instruct_tune.estimate.memory_advice import one_row_a_pass, shortage
from instruct_tune.estimate.resources import Memory
from instruct_tune.estimate.workload import RowLength, Workload, count
from instruct_tune.models import base_model
from instruct_tune.services import estimates

MB = 10**6


def needs(activations: int, logits: int = 0) -> Memory:
    """500 MB for weights, adapter, gradients and optimizer, plus the activations of a pass."""
    return Memory(440 * MB, 15 * MB, 15 * MB, 30 * MB, activations * MB, logits * MB)


PEAK, ALONE = needs(800, 100), needs(300, 50)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (1400, None),
        (1399, "makes its passes smaller"),
        (850, "makes its passes smaller"),
        (849, "layers will be computed twice from there on, which takes about a third longer"),
        (501, "layers will be computed twice"),
        (500, "not even the longest row alone will fit. Choose a smaller model"),
    ],
)
def test_the_warning_for_a_gpu_grows_with_what_is_missing(free, expected):
    warning = shortage(PEAK, ALONE, free * MB, "cuda", recomputes=True)
    assert warning is expected is None or expected in warning
    if expected:
        assert warning.startswith(f"It needs about 1.4 GB of memory and {free if free < 1000 else '1.4'}")


def test_layers_are_computed_twice_only_where_they_can_be():
    assert "will fit. Choose" in shortage(PEAK, ALONE, 600 * MB, "cuda", recomputes=False)


@pytest.mark.parametrize("free", [1399, 849, 400])
def test_of_a_machines_own_memory_nothing_is_promised(free):
    warning = shortage(PEAK, ALONE, free * MB, "cpu", recomputes=True)
    assert "lower the batch size or the longest row" in warning
    assert "twice" not in warning


def test_there_is_no_warning_where_free_memory_is_unknown():
    assert shortage(PEAK, ALONE, None, "cpu", recomputes=True) is None


def test_the_longest_row_alone_is_the_smallest_pass():
    rows = [RowLength(20, 15), RowLength(60, 50), RowLength(40, 10)]
    work = count(RunConfig(train=TrainSettings(per_device_train_batch_size=3)), rows, [], [], 512)
    assert (work.largest.tokens, work.largest.supervised) == (120, 45)
    alone = one_row_a_pass(work)
    assert isinstance(alone, Workload)
    assert (alone.largest.tokens, alone.largest.supervised) == (60, 30)
    assert alone.training == work.training


def test_what_the_lab_holds_on_a_gpu_is_a_runs_to_take(monkeypatch):
    import torch

    monkeypatch.setattr(base_model, "best_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (300, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 200)
    assert estimates.free_memory() == 500
