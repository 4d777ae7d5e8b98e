"""The lab's greedy decoding against transformers' ``generate``: the same tokens, with less computation."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tiny_lab import light, loud  # noqa: F401
from toys import toy_config, toy_model

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.generation import generate as generation
from instruct_tune.generation import greedy
from instruct_tune.generation.generate import Request, generate
from instruct_tune.generation.traces import BeamTrace, GreedyTrace
from instruct_tune.kernels.kv_cache import GROWTH, GrowingLayer, growing_cache
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.models.lora import BASE

PROMPTS = [(5, 9, 17), (21, 3, 4, 60, 61, 7, 90), (33,), (40, 41, 42, 43, 44), (8, 70, 6)]
ARCHITECTURES = ["llama", "qwen2", "cohere", "gpt2", "gpt_neox", "opt", "opt_projected", "mistral", "gemma3"]


def loaded_toy(name: str) -> LoadedModel:
    like, base = loud(), toy_model(name).eval().requires_grad_(False)
    return LoadedModel(base, base, like.tokenizer, like.weights, like.packing)


@pytest.fixture
def by_generate(monkeypatch):
    """Decode with the library's own loop and cache."""

    def decoded(*arguments):
        with monkeypatch.context() as patched:
            patched.setattr(generation, "decodes_itself", lambda *_: False)
            return generate(*arguments)

    return decoded


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_says_what_generate_says(by_generate, name, beams):
    loaded = loaded_toy(name)
    requests = [Request(prompt, BASE) for prompt in PROMPTS]
    settings = GenerationSettings(max_new_tokens=24, num_beams=beams, early_stopping=beams > 1)
    assert generation.decodes_itself(loaded, settings)
    answers = generate(loaded, requests, settings)
    assert answers == by_generate(loaded, requests, settings)
    assert len({answer.text for answer in answers}) > 1


def test_rows_that_have_ended_leave_the_batch(monkeypatch, by_generate):
    loaded = loaded_toy("llama")
    requests = [Request(prompt, BASE) for prompt in PROMPTS]
    # Many end tokens, so that answers end at different times.
    monkeypatch.setattr(generation, "end_tokens", lambda loaded, stop=(): list(range(0, 128, 12)))
    sizes = []
    loaded.base.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    settings = GenerationSettings(max_new_tokens=40)
    answers = generate(loaded, requests, settings)
    seen = list(sizes)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == 5
    assert seen[-1] < 5
    assert len({answer.tokens for answer in answers}) > 1
    assert answers == by_generate(loaded, requests, settings)


def test_a_model_with_defaults_of_its_own_is_left_to_generate(monkeypatch):
    loaded = loaded_toy("llama")
    loaded.base.generation_config.suppress_tokens = [7]
    monkeypatch.setattr(greedy, "decode", lambda *_: pytest.fail("decoded without its defaults"))
    generate(loaded, [Request(PROMPTS[0], BASE)], GenerationSettings(max_new_tokens=4))


def test_a_layer_keeps_what_it_is_given():
    layer, generator = GrowingLayer(), torch.Generator().manual_seed(0)
    updates = [torch.randn(3, 2, tokens, 4, generator=generator) for tokens in (2, 1, GROWTH, 1)]
    for new in updates:
        keys, values = layer.update(new, -new)
    assert torch.equal(keys, torch.cat(updates, dim=2))
    assert torch.equal(values, -keys)
    assert layer.get_seq_length() == GROWTH + 4
    layer.batch_select_indices(torch.tensor([2]))
    more = torch.ones(1, 2, 1, 4)
    assert torch.equal(layer.update(more, more)[0], torch.cat([*(new[2:] for new in updates), more], dim=2))


def test_sliding_windows_keep_the_librarys_layers():
    kinds = {type(layer).__name__ for layer in growing_cache(toy_config("gemma3")).layers}
    assert kinds == {"GrowingLayer", "DynamicSlidingWindowLayer"}


def test_a_greedy_trace_has_the_likeliest_tokens_of_each_step():
    loaded = loaded_toy("llama")
    settings = GenerationSettings(max_new_tokens=12)
    requests = [Request(prompt, BASE) for prompt in PROMPTS]
    answers = generate(loaded, requests, settings, trace=True)
    assert [dataclasses.replace(answer, trace=None) for answer in answers] == generate(loaded, requests, settings)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids, config = torch.tensor([prompt]), generation.generation_config(loaded, settings, 12)
        config.return_dict_in_generate = config.output_logits = True
        output = loaded.base.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        assert isinstance(answer.trace, GreedyTrace)
        assert [step[0].token for step in answer.trace.steps] == output.sequences[0, len(prompt) :].tolist()
        for step, logits in zip(answer.trace.steps, output.logits, strict=True):
            expected = logits[0].log_softmax(-1).topk(generation.TRACED)
            assert [candidate.token for candidate in step] == expected.indices.tolist()
            assert [candidate.log_probability for candidate in step] == pytest.approx(
                expected.values.tolist(), abs=1e-4
            )


def test_beams_tell_their_tree_where_requested():
    loaded = loaded_toy("gpt2")
    settings = GenerationSettings(max_new_tokens=12, num_beams=3)
    requests = [Request(prompt, BASE) for prompt in PROMPTS]
    answers = generate(loaded, requests, settings, trace=True)
    for answer in answers:
        assert isinstance(answer.trace, BeamTrace)
        text_ids = [token for token in answer.trace.ids if token not in generation.end_tokens(loaded)]
        assert answer.text == loaded.tokenizer.decode(text_ids)
    assert [dataclasses.replace(answer, trace=None) for answer in answers] == generate(loaded, requests, settings)


def test_the_chosen_token_is_the_first_candidate_where_others_tie_with_it():
    """In bfloat16 the highest logits are often equal, and topk may name any of them first."""
    logits = torch.zeros(2, 1000)
    logits[1, 5] = 1.0
    chosen = torch.tensor([777, 5])
    first, second = greedy._top_candidates(logits, chosen, 5)
    assert [first[0].token, second[0].token] == [777, 5]
    for candidates in (first, second):
        assert len({each.token for each in candidates}) == 5
    assert [each.log_probability for each in first] == pytest.approx([-math.log(1000)] * 5)
