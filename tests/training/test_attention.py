"""Row-wise attention in a packed pass equals attention on each row alone, sliding windows included."""

from __future__ import annotations

import pytest
import torch
from toys import VOCABULARY, toy_model

from instruct_tune.batching.loss import supervised_loss
from instruct_tune.batching.packing import pack_rows
from instruct_tune.batching.packing_mode import Packing
from instruct_tune.batching.packing_trial import is_exact
from instruct_tune.kernels import attention
from instruct_tune.kernels.attention import BY_ROWS, attend_by_rows, row_starts
from instruct_tune.tokenization.encode import TokenizedExample

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["llama", "qwen2", "cohere", "gpt2", "gpt_neox", "opt", "opt_projected", "mistral", "gemma3"]


def by_rows(name: str):
    model = toy_model(name)
    attend_by_rows(model, "cpu")
    assert model.config._attn_implementation == BY_ROWS
    return model


def rows(*lengths: int) -> list[TokenizedExample]:
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return [TokenizedExample(tuple(ids), tuple(ids), 0, 0) for ids in drawn]


def test_where_rows_begin():
    assert row_starts(torch.tensor([[0, 1, 2, 0, 0, 1]])).tolist() == [0, 3, 4, 6]
    assert row_starts(torch.tensor([[0]])).tolist() == [0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_packed_rows_do_not_see_each_other(name):
    """With attention cut by rows, restarting positions are exact even for OPT, where they alone are not."""
    assert is_exact(by_rows(name), Packing.POSITIONS, tolerance=1e-5)


@pytest.mark.parametrize("name", ["llama", "opt", "mistral", "gemma3"])
def test_loss_and_gradients_are_those_of_the_librarys_attention(name):
    packing = Packing.MASK if name == "opt" else Packing.POSITIONS
    results = []
    for model in (toy_model(name), by_rows(name)):
        (pack,) = pack_rows(rows(11, 17, 1, 13), packing, 1, 100)
        loss = supervised_loss(model, pack)
        loss.backward()
        results.append((loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])))
    (loss, gradient), (other_loss, other_gradient) = results
    torch.testing.assert_close(other_loss, loss, rtol=1e-6, atol=0)
    assert (other_gradient - gradient).norm() <= 1e-5 * gradient.norm()


def test_a_pass_costs_the_squares_of_its_rows(monkeypatch):
    seen = []
    real = attention.sdpa_attention_forward

    def counting(module, query, key, value, mask, **kwargs):
        seen.append((query.shape[2], key.shape[2], mask))
        return real(module, query, key, value, mask, **kwargs)

    monkeypatch.setattr(attention, "sdpa_attention_forward", counting)
    (pack,) = pack_rows(rows(4, 9, 2), Packing.POSITIONS, 1, 100)
    supervised_loss(by_rows("llama"), pack)
    # In each of two layers; the kernels may also take the rows without a mask.
    assert seen == [(4, 4, None), (9, 9, None), (2, 2, None)] * 2


def test_a_cache_is_attended_as_ever():
    model, ids = by_rows("llama").eval(), torch.arange(3, 14)[None]
    with torch.no_grad():
        whole = model(input_ids=ids).logits[:, -1]
        begun = model(input_ids=ids[:, :-1], use_cache=True)
        one_more = model(input_ids=ids[:, -1:], past_key_values=begun.past_key_values).logits[:, -1]
    torch.testing.assert_close(one_more, whole, rtol=1e-4, atol=1e-4)


def test_other_attention_is_left_alone():
    model = toy_model("llama")
    model.set_attn_implementation("eager")
    attend_by_rows(model, "cpu")
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3"])
def test_heads_that_share_keys_are_attended_together(monkeypatch, name):
    """Padded rows, several queries, twice as many heads as keys: keys are not repeated, and the output is the same."""
    ids = torch.arange(3, 33).reshape(2, 15)
    padding = torch.tensor([[0] * 6 + [1] * 9, [1] * 15])
    with torch.no_grad():
        expected = toy_model(name).eval()(input_ids=ids, attention_mask=padding).logits
        monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *_, **__: pytest.fail("repeated"))
        logits = by_rows(name).eval()(input_ids=ids, attention_mask=padding).logits
    torch.testing.assert_close(logits[padding.bool()], expected[padding.bool()], rtol=1e-4, atol=1e-4)
