"""Packs hold every row once, whole, and as many as their budget allows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import PAD, row

from instruct_tune.batching.loss import supervised_count
from instruct_tune.batching.packing import Pack, pack_rows
from instruct_tune.batching.packing_mode import Packing
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample

pytestmark = pytest.mark.filterwarnings("error::DeprecationWarning", "error::FutureWarning")

POSITIONS, MASK, PADDED, ALONE = Packing


def test_packs_by_hand():
    a = TokenizedExample((7, 8, 9), (IGNORE, 8, 9), 1, 0)
    b = TokenizedExample((5, 6), (5, 6), 0, 0)
    (pack,) = pack_rows([a, b], MASK, PAD, 5)
    assert {name: values.tolist() for name, values in pack.items()} == {
        "input_ids": [[7, 8, 9, 5, 6]],
        "labels": [[IGNORE, 8, 9, IGNORE, 6]],
        "position_ids": [[0, 1, 2, 0, 1]],
        "kept": [0, 1, 3],
        "attention_mask": [
            [
                [
                    [True, False, False, False, False],
                    [True, True, False, False, False],
                    [True, True, True, False, False],
                    [False, False, False, True, False],
                    [False, False, False, True, True],
                ]
            ]
        ],
    }
    (pack,) = pack_rows([a, b], POSITIONS, PAD, 5)
    assert set(pack) == {"input_ids", "labels", "position_ids", "kept"}
    (pack,) = pack_rows([a, b], PADDED, PAD, 6)
    assert {name: values.tolist() for name, values in pack.items()} == {
        "input_ids": [[5, 6, PAD], [7, 8, 9]],
        "labels": [[IGNORE, 6, IGNORE], [IGNORE, 8, 9]],
        "attention_mask": [[1, 1, 0], [1, 1, 1]],
        "kept": [0, 3, 4],
    }
    assert pack_rows([], POSITIONS, PAD, 5) == pack_rows([], PADDED, PAD, 5) == []


@pytest.mark.parametrize(
    ("budget", "packing", "lengths"),
    [
        (10, POSITIONS, [[4, 5], [12], [3, 3, 4], [1]]),  # one longer row is alone
        (9, POSITIONS, [[4, 5], [12], [3, 3], [4, 1]]),
        (8, POSITIONS, [[4], [5], [12], [3, 3], [4, 1]]),
        (1, MASK, [[4], [5], [12], [3], [3], [4], [1]]),
        (1000, MASK, [[4, 5, 12, 3, 3, 4, 1]]),
        (10, PADDED, [[1, 3, 3], [4, 4], [5], [12]]),
        (9, PADDED, [[1, 3, 3], [4, 4], [5], [12]]),
        (8, PADDED, [[1, 3], [3, 4], [4], [5], [12]]),
        (1000, ALONE, [[4], [5], [12], [3], [3], [4], [1]]),
    ],
)
def test_rows_are_grouped_up_to_the_budget(budget, packing, lengths):
    rows = [row(length, 1) for length in (4, 5, 12, 3, 3, 4, 1)]
    packs = pack_rows(rows, packing, PAD, budget)
    assert [[len(ids) for ids, _ in contents(pack)] for pack in packs] == lengths


def contents(pack: Pack) -> list[tuple[list[int], list[int]]]:
    """The rows in a pack as (ids, labels), split at restarting positions or by the mask."""
    if "position_ids" in pack:
        starts = (pack["position_ids"][0] == 0).nonzero().flatten().tolist()
        ends = [*starts[1:], pack["input_ids"].shape[1]]
        spans = [(0, start, end) for start, end in zip(starts, ends, strict=True)]
    else:
        spans = [(line, 0, int(mask.sum())) for line, mask in enumerate(pack["attention_mask"])]
    return [tuple(pack[name][at, start:end].tolist() for name in ("input_ids", "labels")) for at, start, end in spans]


def expected(each: TokenizedExample) -> tuple[list[int], list[int]]:
    return list(each.input_ids), [IGNORE, *each.labels[1:]]


some_rows = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 12), st.integers(0, 3)).map(lambda t: row(t[0], min(t[:2]), t[2])),
    max_size=12,
)


@given(rows=some_rows, packing=st.sampled_from([POSITIONS, MASK]), budget=st.integers(1, 40))
def test_packing_never_cuts_nor_reorders_rows(rows, packing, budget):
    packs = pack_rows(rows, packing, PAD, budget)
    held = [contents(pack) for pack in packs]
    assert [each for pack in held for each in pack] == [expected(each) for each in rows]
    widths = [pack["input_ids"].shape[1] for pack in packs]
    assert all(width <= budget or len(pack) == 1 for width, pack in zip(widths, held, strict=True))
    # No pass has space left for the next row.
    assert all(width + len(pack[0][0]) > budget for width, pack in zip(widths, held[1:], strict=False))
    assert sum(int((pack["labels"][..., 1:] != IGNORE).sum()) for pack in packs) == supervised_count(rows)
    for pack, of in zip(packs, held, strict=True):
        assert pack["position_ids"].tolist() == [[at for ids, _ in of for at in range(len(ids))]]
        assert ("attention_mask" in pack) == (packing is MASK)
        if packing is MASK:
            row_of = [number for number, (ids, _) in enumerate(of) for _ in ids]
            may_look = [[mine == its and k <= q for k, its in enumerate(row_of)] for q, mine in enumerate(row_of)]
            assert pack["attention_mask"].tolist() == [[may_look]]
            assert pack["attention_mask"].dtype is torch.bool


@given(rows=some_rows, budget=st.integers(1, 60))
def test_padding_sorts_rows_and_loses_none(rows, budget):
    packs = pack_rows(rows, PADDED, PAD, budget)
    held = [each for pack in packs for each in contents(pack)]
    assert sorted(held) == sorted(expected(each) for each in rows)
    assert [len(ids) for ids, _ in held] == sorted(len(each.input_ids) for each in rows)
    assert all(pack["input_ids"].numel() <= budget or len(pack["input_ids"]) == 1 for pack in packs)
    for pack in packs:
        assert pack["attention_mask"].sum(1).max() == pack["input_ids"].shape[1]
        beyond = pack["attention_mask"] == 0
        assert (pack["input_ids"][beyond] == PAD).all()
        assert (pack["labels"][beyond] == IGNORE).all()
    assert sum(int((pack["labels"][..., 1:] != IGNORE).sum()) for pack in packs) == supervised_count(rows)
