"""Answers equal those of transformers' own pipeline, alone or in a batch, from base and adapters alike."""

from __future__ import annotations

import dataclasses

import generation_lab
import pytest
import torch
from generation_lab import ALL_WAYS, BEAMS, GREEDY, SAMPLED, answers_of, pipeline_texts, prompts_of, texts_of
from peft import PeftModel
from tiny_lab import DROPOUT, RUN, adapter_weights, light, loud, toy  # noqa: F401

from instruct_tune.config.validation import LEAST_TEMPERATURE
from instruct_tune.errors import MemoryLimitError, Stopped
from instruct_tune.generation import generate as generation
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.lora import BASE

folder, tuned = generation_lab.folder, generation_lab.tuned


# Equality with transformers' pipeline


@pytest.mark.slow
@pytest.mark.parametrize("settings", ALL_WAYS)
def test_base_says_what_the_pipeline_says(tuned, settings):
    plain = loud()
    expected = pipeline_texts(plain.base, plain.tokenizer, texts_of(6), settings)
    assert len(set(expected)) == 6
    # From the plain model, and from the same weights under an adapter.
    for loaded in (plain, tuned):
        assert [a.text for a in answers_of(loaded, prompts_of(loaded, 6), BASE, settings)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("settings", ALL_WAYS)
def test_an_adapter_says_what_the_pipeline_says(tuned, folder, settings):
    other = loud()
    peft = PeftModel.from_pretrained(other.base, folder).eval()
    expected = pipeline_texts(peft.get_base_model(), other.tokenizer, texts_of(6), settings)
    assert [a.text for a in answers_of(tuned, prompts_of(tuned, 6), RUN, settings)] == expected
    assert [a.text for a in answers_of(tuned, prompts_of(tuned, 6), BASE, settings)] != expected


# Independence of the batch


@pytest.mark.slow
@pytest.mark.parametrize("settings", ALL_WAYS)
def test_many_at_once_are_each_alone(tuned, monkeypatch, settings):
    prompts = prompts_of(tuned, 7)
    prompts = [prompts[place] for place in (4, 0, 3, 1, 6, 2, 5)]
    expected = [answers_of(tuned, [prompt], BASE, settings)[0] for prompt in prompts]
    batches = {}
    for budget in (1, 300, 100_000):
        monkeypatch.setitem(generation.TOKENS_PER_BATCH, "cpu", budget * settings.num_beams)
        done = []
        assert answers_of(tuned, prompts, BASE, settings, between_batches=done.append) == expected
        assert done == sorted(set(done))
        assert done[-1] == 7
        batches[budget] = len(done)
    # One row a batch; some; and all in one, or with max_length one batch for each length of a prompt.
    lengths = len({len(prompt) for prompt in prompts})
    assert batches[1] == 7
    assert batches[100_000] == (lengths if settings.max_length else 1)
    assert batches[100_000] <= batches[300] < 7


def test_batches_are_smaller_where_memory_is_short(tuned, monkeypatch):
    prompts = prompts_of(tuned, 5)
    expected = answers_of(tuned, prompts, BASE, GREEDY)
    config = tuned.base.config
    a_token = 2 * config.num_hidden_layers * config.hidden_size * 4
    batches = {}
    for tokens in (0, 200, None):
        free = None if tokens is None else int(tokens * a_token / generation.SHARE_OF_MEMORY)
        monkeypatch.setattr(generation.memory, "free", lambda device, free=free: free)
        done = []
        assert answers_of(tuned, prompts, BASE, GREEDY, between_batches=done.append) == expected
        batches[tokens] = len(done)
    # Even with no free memory, it tries one row at a time.
    assert batches[0] == 5
    assert batches[0] > batches[200] > batches[None] == 1


@pytest.mark.parametrize("settings", [GREEDY, BEAMS, SAMPLED], ids=["greedy", "beams", "sampled"])
def test_a_batch_that_memory_cannot_hold_is_halved_and_says_the_same(tuned, settings, monkeypatch):
    prompts = prompts_of(tuned, 7)
    whole = answers_of(tuned, prompts, RUN, settings) if not settings.do_sample else None
    tried, done = [], []
    decode = generation._decode

    def short_of_memory(loaded, rows, *how):
        tried.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(loaded, rows, *how)

    monkeypatch.setattr(generation, "_decode", short_of_memory)
    answers = answers_of(tuned, prompts, RUN, settings, between_batches=done.append)
    assert (tried[0], done[-1]) == (7, 7)
    assert done == sorted(done)
    assert whole is None or answers == whole
    assert len(answers) == 7


@pytest.mark.parametrize("hidden", [{"min_p": 0.9}, {"typical_p": 0.1}, {"epsilon_cutoff": 0.5}, {"eta_cutoff": 0.5}])
def test_sampling_is_cut_by_no_setting_of_the_models_files(tuned, monkeypatch, hidden):
    prompts = prompts_of(tuned, 3)
    shown = answers_of(tuned, prompts, RUN, SAMPLED)
    for name, value in hidden.items():
        monkeypatch.setattr(tuned.base.generation_config, name, value)
    assert answers_of(tuned, prompts, RUN, SAMPLED) == shown


def test_one_answer_that_memory_cannot_hold_says_what_to_change(tuned, monkeypatch):
    def no_memory(*how):
        raise MemoryError

    monkeypatch.setattr(generation, "_decode", no_memory)
    with pytest.raises(MemoryLimitError, match=r"prompt of \d+ tokens: lower generation.max_new_tokens"):
        answers_of(tuned, prompts_of(tuned, 3), RUN, GREEDY)


def test_another_fault_is_not_taken_for_want_of_memory(tuned, monkeypatch):
    def broken(*how):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(generation, "_decode", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        answers_of(tuned, prompts_of(tuned, 3), RUN, GREEDY)


@pytest.mark.slow
@pytest.mark.parametrize("settings", ALL_WAYS)
def test_base_and_adapters_in_one_batch_are_each_alone(tuned, folder, settings):
    prompts = prompts_of(tuned, 4)
    lora.attach(tuned, "second", DROPOUT, seed=4)
    # Another adapter: the first with its sign reversed.
    with torch.no_grad():
        for name, weight in adapter_weights(tuned).items():
            turned = -weight if "lora_B" in name else weight
            tuned.model.get_parameter(name.replace(f".{RUN}.", ".second.")).copy_(turned)
    adapter_names = (BASE, RUN, "second")
    alone = {adapter_name: answers_of(tuned, prompts, adapter_name, settings) for adapter_name in adapter_names}
    assert alone[BASE] != alone[RUN] != alone["second"] != alone[BASE]
    mixed = generate(
        tuned, [Request(prompt, adapter_name) for prompt in prompts for adapter_name in adapter_names], settings
    )
    assert mixed == [alone[adapter_name][place] for place in range(4) for adapter_name in adapter_names]


@pytest.mark.parametrize("settings", [GREEDY, BEAMS])
def test_opt_answers_with_adapters_everywhere(settings):
    """Its feed-forward layers see flattened rows, on which PEFT's own mixed batches fail."""
    loaded = toy("opt")
    everywhere = dataclasses.replace(DROPOUT, target_modules="all-linear")
    lora.attach(loaded, RUN, everywhere, seed=1)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5, generator=torch.Generator().manual_seed(3))
    prompts = prompts_of(loaded, 3)
    alone = {
        adapter_name: [answers_of(loaded, [prompt], adapter_name, settings)[0] for prompt in prompts]
        for adapter_name in (BASE, RUN)
    }
    assert alone[BASE] != alone[RUN]
    mixed = generate(
        loaded, [Request(prompt, adapter_name) for prompt in prompts for adapter_name in (BASE, RUN)], settings
    )
    assert mixed == [alone[adapter_name][place] for place in range(3) for adapter_name in (BASE, RUN)]


def test_nobody_asks(tuned):
    assert generate(tuned, [], GREEDY) == []


@pytest.mark.parametrize("adapter_names", [[BASE], [RUN], [BASE, RUN]])
@pytest.mark.parametrize("training", [True, False])
def test_answering_leaves_the_model_as_it_was(tuned, adapter_names, training):
    tuned.model.set_adapter(RUN)
    tuned.model.train(training)
    before = tuned.base.generation_config.to_dict()
    trains = [p.requires_grad for p in tuned.model.parameters()]
    hooks = [module._forward_pre_hooks.copy() for module in tuned.model.modules()]
    try:
        generate(tuned, [Request(prompts_of(tuned, 1)[0], adapter_name) for adapter_name in adapter_names], GREEDY)
        with pytest.raises(Stopped):
            generate(
                tuned, [Request((5, 6), adapter_name) for adapter_name in adapter_names], GREEDY, stopping=lambda: True
            )
        assert tuned.model.training is training
    finally:
        tuned.model.eval()
    assert tuned.base.generation_config.to_dict() == before
    assert [p.requires_grad for p in tuned.model.parameters()] == trains
    assert [module._forward_pre_hooks for module in tuned.model.modules()] == hooks
    assert torch.is_grad_enabled()


# Sampling


def test_a_seed_draws_the_same_answers(tuned):
    prompts = prompts_of(tuned, 3)
    requests = [Request(prompt, adapter_name) for prompt in prompts for adapter_name in (BASE, RUN)]
    before = torch.get_rng_state()
    first = generate(tuned, requests, SAMPLED)
    # Sampling uses its own random generator and leaves the global one alone.
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert generate(tuned, requests, SAMPLED) == first
    assert generate(tuned, requests, dataclasses.replace(SAMPLED, seed=43)) != first
    assert generate(tuned, requests, GREEDY) != first


@pytest.mark.parametrize("narrow", [{"temperature": 1e-4}, {"top_p": 1e-4}, {"top_p": 1e-40}])
def test_sampling_in_the_narrowest_way_is_greedy(tuned, narrow):
    prompts = prompts_of(tuned, 3)
    narrowest = dataclasses.replace(SAMPLED, **narrow)
    assert answers_of(tuned, prompts, BASE, narrowest) == answers_of(tuned, prompts, BASE, GREEDY)


def test_the_lowest_temperature_of_the_settings_leaves_large_logits_finite(tuned):
    """Some architectures have logits of thousands; 1e-40 makes them infinite, and sampling from them is an error."""
    head = tuned.base.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, inputs, logits: logits * 1e5)
    try:
        coldest = dataclasses.replace(SAMPLED, temperature=LEAST_TEMPERATURE)
        prompts = prompts_of(tuned, 2)
        assert answers_of(tuned, prompts, BASE, coldest) == answers_of(tuned, prompts, BASE, GREEDY)
        with pytest.raises(RuntimeError, match="probability tensor"):
            answers_of(tuned, prompts, BASE, dataclasses.replace(SAMPLED, temperature=1e-40))
    finally:
        hook.remove()


def test_sampling_draws_from_all_tokens(tuned):
    """transformers' own default keeps the fifty likeliest."""
    hot = dataclasses.replace(SAMPLED, temperature=10.0, max_new_tokens=1)
    assert len({answer.text for answer in answers_of(tuned, [(5, 6, 7)] * 600, BASE, hot)}) > 70


@pytest.mark.parametrize("own_default", [{"top_k": 1}, {"temperature": 0.01}, {"top_p": 0.01}])
def test_the_models_own_sampling_defaults_do_not_count(tuned, own_default):
    prompts = prompts_of(tuned, 2)
    expected = answers_of(tuned, prompts, BASE, SAMPLED)
    for name, value in own_default.items():
        setattr(tuned.base.generation_config, name, value)
    assert answers_of(tuned, prompts, BASE, SAMPLED) == expected
