"""An epoch's order is a permutation that depends on seed and epoch only."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from instruct_tune.batching.sampler import EpochSampler

pytestmark = pytest.mark.filterwarnings("error::DeprecationWarning", "error::FutureWarning")


def order(rows: int, seed: int, epoch: int) -> list[int]:
    sampler = EpochSampler(rows, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_an_epochs_order_is_a_pure_function_of_seed_and_epoch():
    # Exact values, so that a run resumed by a later version sees the same batches.
    assert order(8, seed=42, epoch=0) == [4, 1, 6, 3, 5, 7, 2, 0]
    sampler = EpochSampler(8, 42)
    for epoch in (0, 1, 0):  # whatever ran before
        sampler.set_epoch(epoch)
        torch.rand(3)
        assert list(sampler) == list(sampler) == order(8, 42, epoch)


def test_drawing_an_order_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    assert len(order(100, seed=1, epoch=1)) == 100
    assert torch.equal(torch.get_rng_state(), state)


@given(rows=st.integers(0, 50), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000))
def test_an_epochs_order_is_a_permutation(rows, seed, epoch):
    assert sorted(order(rows, seed, epoch)) == list(range(rows))
    assert len(EpochSampler(rows, seed)) == rows


def test_orders_differ_between_epochs_and_seeds():
    orders = {tuple(order(20, seed, epoch)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100
