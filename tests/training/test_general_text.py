"""The general loss: plain text without a template, measured at each probe by the code of the held-out loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_lab import SIX_STEPS, adapter_weights, go, held_out_by_hand, light, same_tensors, some_data, tiny, tiny_with  # noqa: F401

from instruct_tune.batching.packing import TOKENS_PER_PASS
from instruct_tune.data.json_text import values
from instruct_tune.pretrained.token_counts import encode_texts
from instruct_tune.tokenization.encode import IGNORE
from instruct_tune.training.general_text import FILE, MAX_TOKENS, general_rows


def test_every_token_of_a_passage_but_the_first_carries_loss():
    loaded = tiny()
    rows = general_rows(loaded)
    texts = [passage["text"] for passage in values(FILE.read_bytes(), FILE.name)]
    assert [row.input_ids for row in rows] == [tuple(ids[:MAX_TOKENS]) for ids in encode_texts(loaded.tokenizer, texts)]
    assert all(row.labels == (IGNORE, *row.input_ids[1:]) for row in rows)
    assert all(row.supervised == len(row.input_ids) - 1 and not row.truncated for row in rows)


def test_all_passages_fit_into_one_pass():
    assert 0 < sum(len(row.input_ids) for row in general_rows(tiny())) <= TOKENS_PER_PASS["cpu"]


def test_it_is_measured_at_the_probes_and_changes_no_bit_of_the_training(tmp_path, undisturbed):
    loaded = tiny_with()
    rows = general_rows(loaded)
    first = held_out_by_hand(loaded, rows)
    settings = replace(SIX_STEPS, probes=4, sample_every=2)
    watcher, _ = go(loaded, tmp_path, settings, data=replace(some_data(loaded), general=rows))
    losses = watcher.of("general_loss", "general")
    assert list(watcher.metrics["probe"]) == [0, 2, 3, 4, 6]
    assert list(losses) == [0, 3, 6]
    assert losses[0] == pytest.approx(first, abs=1e-5)
    assert losses[6] == pytest.approx(held_out_by_hand(loaded, rows), abs=1e-5)
    assert losses[0] != losses[6]
    assert watcher.losses == undisturbed.losses
    assert same_tensors(adapter_weights(loaded), undisturbed.adapter)
