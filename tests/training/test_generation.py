"""Answers equal those of transformers' own pipeline, alone or in a batch, from base and adapters alike."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny_lab import (
    DROPOUT,
    RUN,
    adapter_weights,
    go,
    light,  # noqa: F401
    loud,
    some_examples,
    toy,
)
from transformers import GenerationConfig, pipeline

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.config.validation import LEAST_TEMPERATURE
from instruct_tune.errors import DataError, MemoryLimitError, Stopped
from instruct_tune.generation import generate as generation
from instruct_tune.generation.answer import Answer
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.models.lora import BASE
from instruct_tune.tokenization.encode import encode_prompts
from instruct_tune.tokenization.prompt_template import LESSON

GREEDY = GenerationSettings(max_new_tokens=16)
BEAMS = GenerationSettings(max_new_tokens=16, num_beams=5, early_stopping=True)
# Prompts of 40 to 70 tokens: ``max_length`` leaves some answers very few tokens.
WHOLE = GenerationSettings(max_new_tokens=None, max_length=72)
LESSONS_CALL = dataclasses.replace(WHOLE, num_beams=5, early_stopping=True)
SAMPLED = GenerationSettings(max_new_tokens=16, do_sample=True)
ALL_WAYS = [
    pytest.param(GREEDY, id="greedy"),
    pytest.param(BEAMS, id="beams"),
    pytest.param(WHOLE, id="max_length"),
    pytest.param(LESSONS_CALL, id="the lesson's call"),
]
ADAPTERS_WAYS = [
    pytest.param(GREEDY, id="greedy"),
    pytest.param(BEAMS, id="beams"),
    pytest.param(WHOLE, id="max_length"),
    pytest.param(LESSONS_CALL, id="the lesson's call"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The saved adapter, with noise in its weights, of a toy model with large weights."""
    loaded = loud()
    lora.attach(loaded, RUN, DROPOUT, seed=1)
    go(loaded, tmp_path_factory.mktemp("run"))
    path = tmp_path_factory.mktemp("adapter")
    lora.save(loaded, RUN, path)
    return path


@pytest.fixture
def tuned(folder) -> LoadedModel:
    """The toy model with large weights and that adapter."""
    loaded = loud()
    lora.load(loaded, RUN, folder)
    return loaded


def texts_of(count: int) -> list[str]:
    return [LESSON.render(example.instruction) for example in some_examples(count)]


def prompts_of(loaded: LoadedModel, count: int) -> list[tuple[int, ...]]:
    rows = [(example.instruction, "") for example in some_examples(count)]
    return [tuple(ids) for ids in encode_prompts(loaded.tokenizer, LESSON, rows)]


def ask(loaded: LoadedModel, prompts, adapter_name: str, settings: GenerationSettings, **how) -> list[Answer]:
    return generate(loaded, [Request(prompt, adapter_name) for prompt in prompts], settings, **how)


def pipeline_says(model, tokenizer, texts, settings: GenerationSettings) -> list[str]:
    """The lesson's call, one text at a time; its defaults would sample."""
    chosen = dataclasses.asdict(settings)
    for name in ("seed", "temperature", "top_p", *(["early_stopping"] if settings.num_beams == 1 else [])):
        del chosen[name]
    config = GenerationConfig(**{name: value for name, value in chosen.items() if value is not None})
    speak = pipeline("text-generation", model=model, tokenizer=tokenizer)
    return [speak(text, generation_config=config, return_full_text=False)[0]["generated_text"] for text in texts]


# Equality with transformers' pipeline


@pytest.mark.slow
@pytest.mark.parametrize("settings", ALL_WAYS)
def test_base_says_what_the_pipeline_says(tuned, settings):
    plain = loud()
    expected = pipeline_says(plain.base, plain.tokenizer, texts_of(6), settings)
    assert len(set(expected)) == 6
    # From the plain model, and from the same weights under an adapter.
    for loaded in (plain, tuned):
        assert [a.text for a in ask(loaded, prompts_of(loaded, 6), BASE, settings)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("settings", ADAPTERS_WAYS)
def test_an_adapter_says_what_the_pipeline_says(tuned, folder, settings):
    other = loud()
    peft = PeftModel.from_pretrained(other.base, folder).eval()
    expected = pipeline_says(peft.get_base_model(), other.tokenizer, texts_of(6), settings)
    assert [a.text for a in ask(tuned, prompts_of(tuned, 6), RUN, settings)] == expected
    assert [a.text for a in ask(tuned, prompts_of(tuned, 6), BASE, settings)] != expected


# Independence of the batch


@pytest.mark.slow
@pytest.mark.parametrize("settings", ALL_WAYS)
def test_many_at_once_are_each_alone(tuned, monkeypatch, settings):
    prompts = prompts_of(tuned, 7)
    prompts = [prompts[place] for place in (4, 0, 3, 1, 6, 2, 5)]
    expected = [ask(tuned, [prompt], BASE, settings)[0] for prompt in prompts]
    batches = {}
    for budget in (1, 300, 100_000):
        monkeypatch.setitem(generation.TOKENS_PER_BATCH, "cpu", budget * settings.num_beams)
        done = []
        assert ask(tuned, prompts, BASE, settings, between_batches=done.append) == expected
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
    expected = ask(tuned, prompts, BASE, GREEDY)
    config = tuned.base.config
    a_token = 2 * config.num_hidden_layers * config.hidden_size * 4
    batches = {}
    for tokens in (0, 200, None):
        free = None if tokens is None else int(tokens * a_token / generation.SHARE_OF_MEMORY)
        monkeypatch.setattr(generation.memory, "free", lambda device, free=free: free)
        done = []
        assert ask(tuned, prompts, BASE, GREEDY, between_batches=done.append) == expected
        batches[tokens] = len(done)
    # Even with no free memory, it tries one row at a time.
    assert batches[0] == 5
    assert batches[0] > batches[200] > batches[None] == 1


@pytest.mark.parametrize("settings", [GREEDY, BEAMS, SAMPLED], ids=["greedy", "beams", "sampled"])
def test_a_batch_that_memory_cannot_hold_is_halved_and_says_the_same(tuned, settings, monkeypatch):
    prompts = prompts_of(tuned, 7)
    whole = ask(tuned, prompts, RUN, settings) if not settings.do_sample else None
    tried, done = [], []
    decode = generation._decode

    def short_of_memory(loaded, rows, *how):
        tried.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(loaded, rows, *how)

    monkeypatch.setattr(generation, "_decode", short_of_memory)
    answers = ask(tuned, prompts, RUN, settings, between_batches=done.append)
    assert (tried[0], done[-1]) == (7, 7)
    assert done == sorted(done)
    assert whole is None or answers == whole
    assert len(answers) == 7


@pytest.mark.parametrize("hidden", [{"min_p": 0.9}, {"typical_p": 0.1}, {"epsilon_cutoff": 0.5}, {"eta_cutoff": 0.5}])
def test_sampling_is_cut_by_no_setting_of_the_models_files(tuned, monkeypatch, hidden):
    prompts = prompts_of(tuned, 3)
    shown = ask(tuned, prompts, RUN, SAMPLED)
    for name, value in hidden.items():
        monkeypatch.setattr(tuned.base.generation_config, name, value)
    assert ask(tuned, prompts, RUN, SAMPLED) == shown


def test_one_answer_that_memory_cannot_hold_says_what_to_change(tuned, monkeypatch):
    def no_memory(*how):
        raise MemoryError

    monkeypatch.setattr(generation, "_decode", no_memory)
    with pytest.raises(MemoryLimitError, match=r"prompt of \d+ tokens: lower generation.max_new_tokens"):
        ask(tuned, prompts_of(tuned, 3), RUN, GREEDY)


def test_another_fault_is_not_taken_for_want_of_memory(tuned, monkeypatch):
    def broken(*how):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(generation, "_decode", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        ask(tuned, prompts_of(tuned, 3), RUN, GREEDY)


@pytest.mark.slow
@pytest.mark.parametrize("settings", ADAPTERS_WAYS)
def test_base_and_adapters_in_one_batch_are_each_alone(tuned, folder, settings):
    prompts = prompts_of(tuned, 4)
    lora.attach(tuned, "second", DROPOUT, seed=4)
    # Another adapter: the first with its sign reversed.
    with torch.no_grad():
        for name, weight in adapter_weights(tuned).items():
            turned = -weight if "lora_B" in name else weight
            tuned.model.get_parameter(name.replace(f".{RUN}.", ".second.")).copy_(turned)
    adapter_names = (BASE, RUN, "second")
    alone = {adapter_name: ask(tuned, prompts, adapter_name, settings) for adapter_name in adapter_names}
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
        adapter_name: [ask(loaded, [prompt], adapter_name, settings)[0] for prompt in prompts]
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
    assert ask(tuned, prompts, BASE, dataclasses.replace(SAMPLED, **narrow)) == ask(tuned, prompts, BASE, GREEDY)


def test_the_lowest_temperature_of_the_settings_leaves_large_logits_finite(tuned):
    """Some architectures have logits of thousands; 1e-40 makes them infinite, and sampling from them is an error."""
    head = tuned.base.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, inputs, logits: logits * 1e5)
    try:
        coldest = dataclasses.replace(SAMPLED, temperature=LEAST_TEMPERATURE)
        assert ask(tuned, prompts_of(tuned, 2), BASE, coldest) == ask(tuned, prompts_of(tuned, 2), BASE, GREEDY)
        with pytest.raises(RuntimeError, match="probability tensor"):
            ask(tuned, prompts_of(tuned, 2), BASE, dataclasses.replace(SAMPLED, temperature=1e-40))
    finally:
        hook.remove()


def test_sampling_draws_from_all_tokens(tuned):
    """transformers' own default keeps the fifty likeliest."""
    hot = dataclasses.replace(SAMPLED, temperature=10.0, max_new_tokens=1)
    assert len({answer.text for answer in ask(tuned, [(5, 6, 7)] * 600, BASE, hot)}) > 70


@pytest.mark.parametrize("own_default", [{"top_k": 1}, {"temperature": 0.01}, {"top_p": 0.01}])
def test_the_models_own_sampling_defaults_do_not_count(tuned, own_default):
    prompts = prompts_of(tuned, 2)
    expected = ask(tuned, prompts, BASE, SAMPLED)
    for name, value in own_default.items():
        setattr(tuned.base.generation_config, name, value)
    assert ask(tuned, prompts, BASE, SAMPLED) == expected


# Where an answer ends


@pytest.fixture
def ending(tuned) -> tuple[LoadedModel, list[tuple[int, ...]], list[list[int]], int]:
    """A model that never ends, prompts of one length, their answers' ids, and a token that ends some of them."""
    prompts = [prompt[-35:] for prompt in prompts_of(tuned, 4)]
    plain = loud().base
    with torch.no_grad():
        ids = [plain.generate(torch.tensor([p]), max_new_tokens=16, do_sample=False)[0, 35:].tolist() for p in prompts]
    assert [len(row) for row in ids] == [16] * 4
    # Neither at the beginning nor in all of them.
    middle = [token for row in ids for token in row[3:] if all(token not in other[:3] for other in ids)]
    return tuned, prompts, ids, next(token for token in middle if any(token not in row for row in ids))


@pytest.mark.parametrize("end", ["tokenizer's and model's", "only the model's"])
def test_an_answer_ends_at_the_models_own_end_too(ending, end):
    loaded, prompts, ids, token = ending
    assert token != loaded.tokenizer.eos_token_id
    loaded.base.generation_config.eos_token_id = [loaded.tokenizer.eos_token_id, token] if "and" in end else token
    answers = ask(loaded, prompts, BASE, GREEDY)
    for answer, row in zip(answers, ids, strict=True):
        text_ids = row[: row.index(token)] if token in row else row
        assert answer == Answer(loaded.tokenizer.decode(text_ids), len(text_ids), token in row)
    assert {answer.ended for answer in answers} == {True, False}


@pytest.mark.slow
def test_beams_that_end_are_those_of_transformers(tuned):
    """Early or late: once answers end, the result depends on how long the search waits for a better one."""
    prompts, plain = prompts_of(tuned, 4), loud().base

    def theirs(early: bool, *ends: int) -> list[list[int]]:
        config = GenerationConfig(
            max_new_tokens=16,
            num_beams=5,
            early_stopping=early,
            do_sample=False,
            eos_token_id=[2, *ends],
            pad_token_id=2,
        )
        with torch.no_grad():
            rows = [plain.generate(torch.tensor([p]), generation_config=config)[0, len(p) :].tolist() for p in prompts]
        # Without the end token and the padding after it.
        return [row[: min([row.index(end) for end in (2, *ends) if end in row], default=16)] for row in rows]

    common = sorted({token for row in theirs(True) for token in row[3:]})
    end = next(token for token in common if theirs(True, token) != theirs(False, token))
    tuned.base.generation_config.eos_token_id = end
    for early in (True, False):
        answers = ask(tuned, prompts, BASE, dataclasses.replace(BEAMS, early_stopping=early))
        assert [answer.text for answer in answers] == [tuned.tokenizer.decode(row) for row in theirs(early, end)]
        assert any(answer.ended for answer in answers)


def test_an_answer_ends_at_the_tokenizers_end(ending):
    loaded, prompts, ids, token = ending
    loaded.base.generation_config.eos_token_id = None
    loaded.tokenizer.eos_token = loaded.tokenizer.convert_ids_to_tokens(token)
    assert loaded.tokenizer.eos_token_id == token
    answers = ask(loaded, prompts, BASE, GREEDY)
    assert [answer.ended for answer in answers] == [token in row for row in ids]


@pytest.mark.parametrize("way", ["own loop", "transformers'", "beams", "transformers' beams"])
def test_an_answer_is_cut_before_the_first_stop_text(tuned, way):
    settings = BEAMS if "beams" in way else GREEDY
    prompts = prompts_of(tuned, 4)
    if "transformers'" in way:
        # An option that only transformers' own loop supports, and that changes no text here.
        tuned.base.generation_config.min_length = 1
    plain = ask(tuned, prompts, BASE, settings)
    stop = plain[0].text[3:6]
    assert len(stop) == 3
    answers = ask(tuned, prompts, BASE, dataclasses.replace(settings, stop=("never generated", stop)))
    for before, answer in zip(plain, answers, strict=True):
        assert answer.text == before.text.partition(stop)[0]
        assert answer.ended == (before.ended or stop in before.text)
    if "beams" not in way:
        assert answers[0].tokens < plain[0].tokens


def test_what_is_shown_while_it_grows_is_cut_too(tuned):
    prompt = prompts_of(tuned, 1)
    (plain,) = ask(tuned, prompt, BASE, GREEDY)
    stop, seen = plain.text[3:6], []
    settings = dataclasses.replace(GREEDY, stop=(stop,))
    generate(tuned, [Request(prompt[0], BASE)], settings, on_tokens=lambda texts: seen.append(texts[0]))
    assert seen
    assert not any(stop in text for text in seen)


@pytest.mark.parametrize("limit", [GREEDY, WHOLE])
def test_an_answer_at_the_limit_has_not_ended(tuned, limit):
    for prompt, answer in zip(prompts_of(tuned, 4), ask(tuned, prompts_of(tuned, 4), BASE, limit), strict=True):
        assert answer.tokens == (72 - len(prompt) if limit.max_length else 16)
        assert not answer.ended


def test_end_tokens_are_the_tokenizers_and_the_models(tuned):
    eos = tuned.tokenizer.eos_token_id
    for models_own, expected in ((None, [eos]), (eos, [eos]), (77, [eos, 77]), ([77, eos, 5], [eos, 5, 77])):
        tuned.base.generation_config.eos_token_id = models_own
        assert generation.end_tokens(tuned) == expected


# Length limits


def test_max_length_counts_the_prompt(tuned):
    short, long = (5,) * 10, (5,) * 40
    settings = GenerationSettings(max_new_tokens=None, max_length=40)
    # The longer prompt leaves no token: an empty answer that did not end by itself, in a batch with a complete one.
    answers = ask(tuned, [long, short, (5,) * 41], BASE, settings)
    assert answers[0] == answers[2] == Answer("", 0, False)
    assert answers[1] == ask(tuned, [short], BASE, settings)[0]
    assert answers[1].tokens == 30


def test_max_length_goes_before_max_new_tokens(tuned):
    settings = GenerationSettings(max_new_tokens=3, max_length=40)
    assert ask(tuned, [(5,) * 10], BASE, settings)[0].tokens == 30


def test_the_context_is_the_limit(tuned):
    tuned.base.config.max_position_embeddings = 30
    settings = GenerationSettings(max_new_tokens=16)
    answers = ask(tuned, [(5,) * 29, (6,) * 20, (7,) * 10], BASE, settings)
    assert [answer.tokens for answer in answers] == [1, 10, 16]
    # No answer is cut because of another one.
    assert answers == [ask(tuned, [prompt], BASE, settings)[0] for prompt in ((5,) * 29, (6,) * 20, (7,) * 10)]
    for length in (30, 31):
        with pytest.raises(DataError) as caught:
            ask(tuned, [(5,) * 3, (5,) * length], BASE, settings)
        assert str(caught.value) == (
            f"A prompt of {length} tokens does not fit into the model's context of 30: "
            "shorten it, or choose a model with a longer context."
        )


# Streaming


def test_texts_grow_into_the_answers(tuned):
    seen = []
    prompt = prompts_of(tuned, 1)[0]
    requests = [Request(prompt, BASE), Request(prompt, RUN)]
    answers = generate(tuned, requests, GREEDY, on_tokens=seen.append)
    assert len(seen) == 16
    assert seen[-1] == [answer.text for answer in answers]
    assert seen[-1][0] != seen[-1][1]
    for earlier, later in pairwise(seen):
        for before, after in zip(earlier, later, strict=True):
            # The last bytes may be the first part of a character.
            assert after.startswith(before.rstrip("\ufffd"))
    assert len(seen[7][0]) < len(seen[-1][0])


def test_an_answer_that_has_ended_grows_no_more(ending):
    loaded, prompts, ids, token = ending
    loaded.base.generation_config.eos_token_id = token
    seen = []
    answers = ask(loaded, prompts, BASE, GREEDY, on_tokens=seen.append)
    assert [answer.text for answer in answers] == seen[-1]
    place = next(place for place, row in enumerate(ids) if token in row)
    assert {texts[place] for texts in seen[ids[place].index(token) :]} == {answers[place].text}


def test_texts_come_in_the_order_of_the_requests(tuned, monkeypatch):
    """Although the longest prompts are decoded first, and not all in one batch."""
    monkeypatch.setitem(generation.TOKENS_PER_BATCH, "cpu", 150)
    prompts = prompts_of(tuned, 5)
    done, seen = [], []
    answers = ask(tuned, prompts, BASE, GREEDY, on_tokens=seen.append, between_batches=done.append)
    assert len(done) > 1
    assert seen[-1] == [answer.text for answer in answers]
    assert all(len(texts) == 5 for texts in seen)
    # A row without an answer is empty, and an answer stays.
    assert "" in seen[0]
    assert seen[15] == [text if text in seen[15] else "" for text in seen[-1]]


def test_beams_are_not_shown_before_they_are_chosen(tuned):
    assert ask(tuned, prompts_of(tuned, 1), BASE, BEAMS, on_tokens=lambda texts: pytest.fail("shown"))


@pytest.mark.parametrize("settings", ALL_WAYS)
def test_a_stop_is_within_one_token(tuned, settings):
    calls = []

    def stopping() -> bool:
        calls.append(0)
        return len(calls) == 3

    with pytest.raises(Stopped):
        ask(tuned, prompts_of(tuned, 2), BASE, settings, stopping=stopping)
    assert len(calls) == 3


def test_nothing_is_generated_after_a_stop(tuned):
    seen = []
    with pytest.raises(Stopped):
        ask(tuned, prompts_of(tuned, 1), BASE, GREEDY, on_tokens=seen.append, stopping=lambda: len(seen) == 2)
    assert len(seen) == 2


@pytest.mark.parametrize("adapter_names", [[BASE], [RUN], [BASE, RUN]])
def test_an_answer_that_breaks_off_does_not_poison_the_model(tuned, adapter_names):
    """The client may have disconnected: that must not change the next one's answers."""
    prompts = prompts_of(tuned, 2)
    expected = [ask(tuned, prompts, adapter_name, GREEDY) for adapter_name in (BASE, RUN)]

    def gone(texts: list[str]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        generate(tuned, [Request(prompts[0], adapter_name) for adapter_name in adapter_names], GREEDY, on_tokens=gone)
    assert [ask(tuned, prompts, adapter_name, GREEDY) for adapter_name in (BASE, RUN)] == expected
    assert not any(module._forward_pre_hooks for module in tuned.model.modules())


# The real model
