"""An answer ends at an end token, before a stop text, or at a length limit."""

from __future__ import annotations

import dataclasses

import generation_lab
import pytest
import torch
from generation_lab import BEAMS, GREEDY, SAMPLED, WHOLE, answers_of, prompts_of
from tiny_lab import light, loud  # noqa: F401
from transformers import GenerationConfig

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.errors import DataError
from instruct_tune.generation import generate as generation
from instruct_tune.generation.answer import Answer
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models.lora import BASE

folder, tuned, ending = generation_lab.folder, generation_lab.tuned, generation_lab.ending


# Ends


@pytest.mark.parametrize("end", ["tokenizer's and model's", "only the model's"])
def test_an_answer_ends_at_the_models_own_end_too(ending, end):
    loaded, prompts, ids, token = ending
    assert token != loaded.tokenizer.eos_token_id
    loaded.base.generation_config.eos_token_id = [loaded.tokenizer.eos_token_id, token] if "and" in end else token
    answers = answers_of(loaded, prompts, BASE, GREEDY)
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
        answers = answers_of(tuned, prompts, BASE, dataclasses.replace(BEAMS, early_stopping=early))
        assert [answer.text for answer in answers] == [tuned.tokenizer.decode(row) for row in theirs(early, end)]
        assert any(answer.ended for answer in answers)


def test_an_answer_ends_at_the_tokenizers_end(ending):
    loaded, prompts, ids, token = ending
    loaded.base.generation_config.eos_token_id = None
    loaded.tokenizer.eos_token = loaded.tokenizer.convert_ids_to_tokens(token)
    assert loaded.tokenizer.eos_token_id == token
    answers = answers_of(loaded, prompts, BASE, GREEDY)
    assert [answer.ended for answer in answers] == [token in row for row in ids]


@pytest.mark.parametrize("way", ["own loop", "transformers'", "beams", "transformers' beams"])
def test_an_answer_is_cut_before_the_first_stop_text(tuned, way):
    settings = BEAMS if "beams" in way else GREEDY
    prompts = prompts_of(tuned, 4)
    if "transformers'" in way:
        # An option that only transformers' own loop supports, and that changes no text here.
        tuned.base.generation_config.min_length = 1
    plain = answers_of(tuned, prompts, BASE, settings)
    stop = plain[0].text[3:6]
    assert len(stop) == 3
    answers = answers_of(tuned, prompts, BASE, dataclasses.replace(settings, stop=("never generated", stop)))
    for before, answer in zip(plain, answers, strict=True):
        assert answer.text == before.text.partition(stop)[0]
        assert answer.ended == (before.ended or stop in before.text)
        assert (answer.tokens < before.tokens) == (stop in before.text)


def test_tokens_after_a_stop_text_do_not_count_nor_does_padding(tuned):
    """In a batch of samples a row that stopped is padded, here with a token that ends nothing."""
    tuned.tokenizer.pad_token = tuned.tokenizer.convert_ids_to_tokens(40)
    prompts = prompts_of(tuned, 4)
    plain = answers_of(tuned, prompts, BASE, SAMPLED)
    stop = plain[0].text[3:6]
    answers = answers_of(tuned, prompts, BASE, dataclasses.replace(SAMPLED, stop=(stop,)))
    assert answers[0].ended
    assert answers[0].text == plain[0].text.partition(stop)[0]
    assert answers[0].tokens < plain[0].tokens
    kept = tuned.tokenizer(answers[0].text, add_special_tokens=False)["input_ids"]
    assert answers[0].tokens <= len(kept) + 1


@pytest.mark.parametrize("settings", [GREEDY, dataclasses.replace(GREEDY, num_beams=2), SAMPLED])
def test_a_stop_text_that_spells_a_special_token_ends_an_answer_at_it(ending, settings):
    """An answer's text does not show such tokens."""
    loaded, prompts, _, token = ending
    spelled = loaded.tokenizer.convert_ids_to_tokens(token)
    loaded.tokenizer.add_special_tokens({"additional_special_tokens": [spelled]})
    stopped = answers_of(loaded, prompts, BASE, dataclasses.replace(settings, stop=(f"{spelled}\n",)))
    loaded.base.generation_config.eos_token_id = token
    assert stopped == answers_of(loaded, prompts, BASE, settings)
    if settings is GREEDY:
        assert any(answer.ended for answer in stopped)


def test_what_is_shown_while_it_grows_is_cut_too(tuned):
    prompt = prompts_of(tuned, 1)
    (plain,) = answers_of(tuned, prompt, BASE, GREEDY)
    stop, seen = plain.text[3:6], []
    settings = dataclasses.replace(GREEDY, stop=(stop,))
    generate(tuned, [Request(prompt[0], BASE)], settings, on_tokens=lambda texts: seen.append(texts[0]))
    assert seen
    assert not any(stop in text for text in seen)


@pytest.mark.parametrize("limit", [GREEDY, WHOLE])
def test_an_answer_at_the_limit_has_not_ended(tuned, limit):
    for prompt, answer in zip(prompts_of(tuned, 4), answers_of(tuned, prompts_of(tuned, 4), BASE, limit), strict=True):
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
    answers = answers_of(tuned, [long, short, (5,) * 41], BASE, settings)
    assert answers[0] == answers[2] == Answer("", 0, False)
    assert answers[1] == answers_of(tuned, [short], BASE, settings)[0]
    assert answers[1].tokens == 30


def test_max_length_goes_before_max_new_tokens(tuned):
    settings = GenerationSettings(max_new_tokens=3, max_length=40)
    assert answers_of(tuned, [(5,) * 10], BASE, settings)[0].tokens == 30


def test_the_context_is_the_limit(tuned):
    tuned.base.config.max_position_embeddings = 30
    settings = GenerationSettings(max_new_tokens=16)
    answers = answers_of(tuned, [(5,) * 29, (6,) * 20, (7,) * 10], BASE, settings)
    assert [answer.tokens for answer in answers] == [1, 10, 16]
    # No answer is cut because of another one.
    assert answers == [answers_of(tuned, [prompt], BASE, settings)[0] for prompt in ((5,) * 29, (6,) * 20, (7,) * 10)]
    for length in (30, 31):
        with pytest.raises(DataError) as caught:
            answers_of(tuned, [(5,) * 3, (5,) * length], BASE, settings)
        assert str(caught.value) == (
            f"A prompt of {length} tokens does not fit into the model's context of 30: "
            "shorten it, or choose a model with a longer context."
        )
