"""Packing rows keeps the loss and gradients of each row alone, in the way that a probe finds exact."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence

import pytest
import torch
from architectures import architecture
from torch import Tensor
from toys import ARCHITECTURES, PAD, WINDOW, row, toy_config, toy_model

from instruct_tune.batching import loss as batch_loss
from instruct_tune.batching import packing_trial
from instruct_tune.batching.loss import supervised_count, supervised_loss
from instruct_tune.batching.packing import pack_rows
from instruct_tune.batching.packing_mode import Packing
from instruct_tune.batching.packing_trial import detect_packing, is_exact
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample

pytestmark = [
    pytest.mark.usefixtures("one_thread", "no_deprecated_calls"),
    pytest.mark.filterwarnings("error::DeprecationWarning", "error::FutureWarning"),
]

POSITIONS, MASK, PADDED, ALONE = Packing

PROBED = dict.fromkeys(ARCHITECTURES, POSITIONS) | {"opt": MASK, "opt_projected": MASK, "rwkv": PADDED}
"""The expected result of the probe: POSITIONS unless the architecture ignores them, PADDED where nothing packs."""

EXACT = {name: set(Packing) for name in ARCHITECTURES} | {
    # An explicit mask replaces the sliding window.
    "mistral": {POSITIONS, PADDED, ALONE},
    "gemma3": {POSITIONS, PADDED, ALONE},
    "opt": {MASK, PADDED, ALONE},
    "opt_projected": {MASK, PADDED, ALONE},
    "rwkv": {PADDED, ALONE},
}

TOLERANCE = 1e-5

# Some are longer than the sliding windows; one is a single token, one has no prompt, one has no supervised token.
ROWS = [row(11, 4), row(17, 9), row(1, 0), row(13, 1), row(9, 0), row(4, 4)]
SUPERVISED = 7 + 8 + 0 + 12 + 8 + 0
BUDGETS = {"a few passes": 25, "one pass": 1000}


def measured(model: torch.nn.Module, loss_of: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """The loss and the gradients of all parameters in one vector."""
    model.zero_grad()
    loss = loss_of()
    loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters() if p.requires_grad]
    return loss.item(), torch.cat([each.flatten() for each in gradients])


def ours(model: torch.nn.Module, rows: Sequence[TokenizedExample], packing: Packing, budget: int = 1000):
    packs = pack_rows(rows, packing, PAD, budget)
    return measured(model, lambda: torch.stack([supervised_loss(model, pack) for pack in packs]).sum())


def row_by_row(model: torch.nn.Module, rows: Iterable[TokenizedExample]):
    """The library's own loss, each row in its own batch."""
    return measured(model, lambda: torch.stack([_theirs(model, [each]) for each in rows if supervised(each)]).sum())


def padded(model: torch.nn.Module, rows: Sequence[TokenizedExample]):
    """The library's own loss on one batch, padded on the right."""
    return measured(model, lambda: _theirs(model, rows))


def _theirs(model: torch.nn.Module, rows: Sequence[TokenizedExample]) -> Tensor:
    width = max(len(each.input_ids) for each in rows)
    batch = {
        "input_ids": [[*each.input_ids, *[PAD] * (width - len(each.input_ids))] for each in rows],
        "labels": [[*each.labels, *[IGNORE] * (width - len(each.labels))] for each in rows],
        "attention_mask": [[int(at < len(each.input_ids)) for at in range(width)] for each in rows],
    }
    mean = model(**{name: torch.tensor(values) for name, values in batch.items()}, use_cache=False).loss
    return mean * sum(supervised(each) for each in rows)


def supervised(each: TokenizedExample) -> int:
    """The number of positions with a loss: not the first, which nothing predicts."""
    return sum(label != IGNORE for label in each.labels[1:])


def apart(one: tuple[float, Tensor], other: tuple[float, Tensor]) -> tuple[float, float]:
    """The relative distance of two losses and of their gradients, by the second's size."""
    return abs(one[0] - other[0]) / abs(other[0]), ((one[1] - other[1]).norm() / other[1].norm()).item()


# Packing modes


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_probe_finds_what_is_exact(name):
    assert detect_packing(toy_config(name)).packing is PROBED[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("packing", [POSITIONS, MASK, PADDED])
def test_exactness_is_classified(name, packing):
    assert is_exact(toy_model(name), packing) == (packing in EXACT[name])


def test_the_probe_looks_beyond_a_window_of_any_size(monkeypatch):
    monkeypatch.setattr(packing_trial, "is_exact", lambda model, packing: tried.append(model.config))
    tried: list = []
    packing_trial._SUPPORT.clear()
    try:
        assert detect_packing(toy_config("mistral", sliding_window=4096, num_hidden_layers=30)).packing is ALONE
        assert detect_packing(toy_config("gemma3", sliding_window=512, num_hidden_layers=2)).packing is ALONE
    finally:
        packing_trial._SUPPORT.clear()
    assert len(tried) == 6
    for config in tried:
        assert config.sliding_window < 11  # the shortest row of is_exact
        assert config.num_hidden_layers == 2
    assert tried[-1].layer_types == ["sliding_attention", "full_attention"]


@pytest.mark.parametrize("name", ["opt", "opt_projected"])
def test_the_probe_hears_a_quiet_architecture(name):
    assert detect_packing(toy_config(name, init_std=1e-5)).packing is MASK


def test_the_probe_leaves_config_and_random_state_alone():
    config = toy_config("gemma3")
    packing_trial._SUPPORT.clear()
    before = config.to_dict()
    with torch.random.fork_rng():
        torch.manual_seed(20)  # a state that no probe leaves
        state = torch.get_rng_state()
        assert detect_packing(config).packing is POSITIONS
        assert torch.equal(torch.get_rng_state(), state)
    assert config.to_dict() == before


def test_the_probe_tells_configurations_of_one_architecture_apart():
    packing_trial._SUPPORT.clear()
    attention = architecture("lfm2", layer_types=["full_attention", "full_attention"])
    assert detect_packing(attention).packing is POSITIONS
    # A convolution reaches back across the start of its row.
    assert detect_packing(architecture("lfm2", layer_types=["conv", "full_attention"])).packing is PADDED


# Loss and gradients


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_loss_and_gradients_are_those_of_each_row_alone(name):
    model = toy_model(name)
    alone = row_by_row(model, ROWS)
    assert alone[1].norm() > 1  # large enough for a leak to show
    assert apart(padded(model, ROWS), alone) <= (TOLERANCE, TOLERANCE)
    for packing in EXACT[name]:
        for budget in BUDGETS.values():
            loss, gradients = apart(ours(model, ROWS, packing, budget), alone)
            assert loss <= TOLERANCE, (packing, budget)
            assert gradients <= TOLERANCE, (packing, budget)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if len(EXACT[name]) < 4])
def test_the_wrong_packing_shows_in_loss_and_gradients(name):
    model = toy_model(name)
    alone = row_by_row(model, ROWS)
    for packing in set(Packing) - EXACT[name]:
        loss, gradients = apart(ours(model, ROWS, packing), alone)
        assert loss > 50 * TOLERANCE, packing
        assert gradients > 0.1, packing


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_an_explicit_mask_is_exact_until_a_row_is_longer_than_the_window(name):
    model = toy_model(name)
    # The last position predicts nothing, so a token that sees too much shows only with two more tokens.
    within, beyond = [row(WINDOW, 2), row(WINDOW + 1, 1)], [row(WINDOW, 2), row(WINDOW + 2, 1)]
    assert max(apart(ours(model, within, MASK), row_by_row(model, within))) <= TOLERANCE
    assert max(apart(ours(model, beyond, MASK), row_by_row(model, beyond))) > 50 * TOLERANCE


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_head_sees_supervised_positions_only(name, packing):
    model = toy_model(name)
    seen: list[int] = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0][..., 0].numel()))
    packs = pack_rows(ROWS[:2], packing, PAD, budget=17)  # one row a pass, so that padded ones are single too
    assert len(packs) == 2
    losses = [supervised_loss(model, pack) for pack in packs]
    assert seen == [supervised_count([each]) for each in ROWS[:2]]
    assert sum(seen) == 7 + 8
    # The loss equals that of the head on all positions.
    for loss, pack in zip(losses, packs, strict=True):
        inputs = {name: values for name, values in pack.items() if name not in ("labels", "kept")}
        logits = model(**inputs, use_cache=False).logits[0, :-1]
        full = torch.nn.functional.cross_entropy(logits, pack["labels"][0, 1:], ignore_index=IGNORE, reduction="sum")
        torch.testing.assert_close(loss, full, rtol=TOLERANCE, atol=0)


def test_a_model_without_logits_to_keep_gives_the_same(monkeypatch):
    model = toy_model("llama")
    with_chosen_logits = ours(model, ROWS, POSITIONS)
    monkeypatch.setattr(batch_loss, "keeps_chosen_logits", lambda model: False)
    seen: list[int] = []
    model.lm_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    assert max(apart(ours(model, ROWS, POSITIONS), with_chosen_logits)) <= TOLERANCE
    assert seen == [sum(len(each.input_ids) for each in ROWS)]


def test_an_adapter_does_not_hide_that_chosen_logits_can_be_kept():
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT's own calls
        model = get_peft_model(toy_model("llama"), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    seen: list[int] = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    loss, gradients = ours(model, ROWS, POSITIONS)
    assert seen == [SUPERVISED]
    assert loss == pytest.approx(row_by_row(toy_model("llama"), ROWS)[0], rel=TOLERANCE)
    assert gradients.norm() > 0


def test_nothing_to_learn_costs_nothing():
    model = toy_model("llama")
    loss, gradients = ours(model, [row(5, 5), row(1, 0)], POSITIONS)
    assert loss == 0
    assert gradients.norm() == 0
