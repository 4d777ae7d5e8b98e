"""Streamed texts grow into the answers, and a stop or a fault between two tokens ends the generation."""

from __future__ import annotations

from itertools import pairwise

import generation_lab
import pytest
from generation_lab import ALL_WAYS, BEAMS, GREEDY, answers_of, prompts_of
from tiny_lab import RUN, light  # noqa: F401

from instruct_tune.errors import Stopped
from instruct_tune.generation import generate as generation
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models.lora import BASE

folder, tuned, ending = generation_lab.folder, generation_lab.tuned, generation_lab.ending


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
    answers = answers_of(loaded, prompts, BASE, GREEDY, on_tokens=seen.append)
    assert [answer.text for answer in answers] == seen[-1]
    place = next(place for place, row in enumerate(ids) if token in row)
    assert {texts[place] for texts in seen[ids[place].index(token) :]} == {answers[place].text}


def test_texts_come_in_the_order_of_the_requests(tuned, monkeypatch):
    """Although the longest prompts are decoded first, and not all in one batch."""
    monkeypatch.setitem(generation.TOKENS_PER_BATCH, "cpu", 150)
    prompts = prompts_of(tuned, 5)
    done, seen = [], []
    answers = answers_of(tuned, prompts, BASE, GREEDY, on_tokens=seen.append, between_batches=done.append)
    assert len(done) > 1
    assert seen[-1] == [answer.text for answer in answers]
    assert all(len(texts) == 5 for texts in seen)
    # A row without an answer is empty, and an answer stays.
    assert "" in seen[0]
    assert seen[15] == [text if text in seen[15] else "" for text in seen[-1]]


def test_beams_are_not_shown_before_they_are_chosen(tuned):
    assert answers_of(tuned, prompts_of(tuned, 1), BASE, BEAMS, on_tokens=lambda texts: pytest.fail("shown"))


@pytest.mark.parametrize("settings", ALL_WAYS)
def test_a_stop_is_within_one_token(tuned, settings):
    calls = []

    def stopping() -> bool:
        calls.append(0)
        return len(calls) == 3

    with pytest.raises(Stopped):
        answers_of(tuned, prompts_of(tuned, 2), BASE, settings, stopping=stopping)
    assert len(calls) == 3


def test_nothing_is_generated_after_a_stop(tuned):
    seen = []
    with pytest.raises(Stopped):
        answers_of(tuned, prompts_of(tuned, 1), BASE, GREEDY, on_tokens=seen.append, stopping=lambda: len(seen) == 2)
    assert len(seen) == 2


@pytest.mark.parametrize("adapter_names", [[BASE], [RUN], [BASE, RUN]])
def test_an_answer_that_breaks_off_does_not_poison_the_model(tuned, adapter_names):
    """The client may have disconnected: that must not change the next one's answers."""
    prompts = prompts_of(tuned, 2)
    expected = [answers_of(tuned, prompts, adapter_name, GREEDY) for adapter_name in (BASE, RUN)]

    def gone(texts: list[str]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        generate(tuned, [Request(prompts[0], adapter_name) for adapter_name in adapter_names], GREEDY, on_tokens=gone)
    assert [answers_of(tuned, prompts, adapter_name, GREEDY) for adapter_name in (BASE, RUN)] == expected
    assert not any(module._forward_pre_hooks for module in tuned.model.modules())
