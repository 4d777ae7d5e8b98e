"""The lab's beam search against transformers' ``generate``: the same answers and scores, with less computation."""

from __future__ import annotations

import random

import pytest
import torch
from tiny_lab import light  # noqa: F401
from toys import toy_config, toy_model
from transformers import GenerationConfig, PreTrainedModel

from instruct_tune.errors import Stopped
from instruct_tune.generation.beam_search import fits, is_exact, kept, search
from instruct_tune.generation.beam_tree import Tree
from instruct_tune.models.active_rows import Prompts

ARCHITECTURES = ["llama", "qwen2", "cohere", "gpt2", "gpt_neox", "opt", "opt_projected", "mistral", "gemma3"]


def quiet_toy(name: str) -> PreTrainedModel:
    return toy_model(name).eval().requires_grad_(False)


def padded(prompts: list[list[int]]) -> Prompts:
    width = max(map(len, prompts))
    ids = [[1] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return Prompts(torch.tensor(ids), torch.tensor(mask))


def theirs(model: PreTrainedModel, prompt: list[int], beams: int, new_tokens: int, ends: list[int], early: bool):
    """The output of ``generate`` for one prompt, with its scores."""
    config = GenerationConfig(
        max_new_tokens=new_tokens,
        num_beams=beams,
        early_stopping=early,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=1,
        return_dict_in_generate=True,
        output_scores=True,
    )
    with torch.no_grad():
        ids = torch.tensor([prompt])
        return model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)


def its_ids(output, prompt: list[int], ends: list[int]) -> list[int]:
    ids = output.sequences[0, len(prompt) :].tolist()
    return ids[: next((at for at, token in enumerate(ids) if token in ends), len(ids)) + 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answers_and_scores_are_those_of_generate(name):
    """Many random searches: few and many beams, answers that end at once, late or never."""
    model, drawn = quiet_toy(name), random.Random(name)
    equal, lengths = [], set()
    for _ in range(10):
        beams, early, new_tokens = drawn.randint(2, 5), drawn.random() < 0.5, drawn.randint(1, 14)
        prompts = [[drawn.randrange(3, 128) for _ in range(drawn.randint(1, 12))] for _ in range(3)]
        # End tokens: some that the model is likely to generate, and some that it is not.
        likely = its_ids(theirs(model, prompts[0], beams, new_tokens, [1], early), prompts[0], [1])
        ends = sorted({*drawn.sample(range(128), drawn.choice([1, 2, 6])), *likely[drawn.randint(0, 6) :: 4]})
        for prompt, trace in zip(prompts, search(model, padded(prompts), beams, new_tokens, ends, early), strict=True):
            expected = theirs(model, prompt, beams, new_tokens, ends, early)
            assert trace.score == pytest.approx(expected.sequences_scores[0].item(), rel=1e-4, abs=1e-4)
            equal.append(trace.ids == its_ids(expected, prompt, ends))
            lengths.add("whole" if len(trace.ids) == new_tokens else "ended")
    # Scores of two answers may differ only by rounding.
    assert equal.count(False) <= 1
    assert lengths == {"whole", "ended"}


@pytest.mark.parametrize("early", [True, False])
def test_the_way_to_an_answer_is_transformers(early):
    model, ends = quiet_toy("llama"), [9, 40, 77, 101]
    prompts = [[5, 9, 17], [21, 3, 4, 60, 61, 7, 90], [33]]
    for prompt, trace in zip(prompts, search(model, padded(prompts), 4, 12, ends, early), strict=True):
        expected = theirs(model, prompt, 4, 12, ends, early)
        assert trace.ids == its_ids(expected, prompt, ends)
        way = [step[place] for step, place in zip(trace.steps, trace.answer, strict=False)]
        assert [branch.parent or 0 for branch in way] == expected.beam_indices[0, : len(way)].tolist()
        own = model.compute_transition_scores(
            expected.sequences, expected.scores, expected.beam_indices, normalize_logits=False
        )
        assert [branch.log_probability for branch in way] == pytest.approx(own[0, : len(way)].tolist(), abs=1e-4)
        assert way[-1].score == pytest.approx(sum(branch.log_probability for branch in way), abs=1e-4)
        assert trace.score == pytest.approx(way[-1].score / len(way))


def test_a_trace_is_a_tree():
    ends = [9, 40, 77, 101]
    trace = search(quiet_toy("llama"), padded([[5, 9, 17]]), 3, 10, ends, early_stopping=False)[0]
    assert {branch.parent for branch in trace.steps[0]} == {None}
    for number, step in enumerate(trace.steps):
        going = [branch for branch in step if not branch.ended]
        assert len(going) == (3 if number < 9 else 0)
        # Unfinished beams come first; each part is sorted best first.
        assert list(step) == sorted(step, key=lambda branch: (branch.ended, -branch.score))
        for branch in step:
            assert branch.ended == (branch.token in ends or number == 9)
            if number:
                parent = trace.steps[number - 1][branch.parent]
                assert not parent.ended
                assert branch.score == pytest.approx(parent.score + branch.log_probability, abs=1e-4)


def test_a_prompt_is_read_once_and_ended_rows_leave():
    model, read = quiet_toy("llama"), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    prompts = [[5, 9, 17], [21, 3, 4, 60, 61, 7, 90], [33], [40, 41, 42], [8, 70, 6]]
    together = search(model, padded(prompts), 3, 20, list(range(0, 128, 12)), early_stopping=True)
    assert read[0] == (5, 7)
    assert {tokens for _, tokens in read[1:]} == {3}
    rows = [rows for rows, _ in read]
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < 5
    for prompt, trace in zip(prompts, together, strict=True):
        alone = search(model, padded([prompt]), 3, 20, list(range(0, 128, 12)), early_stopping=True)[0]
        assert (trace.ids, trace.answer) == (alone.ids, alone.answer)
        assert len(trace.steps) == len(alone.steps)


def test_a_stop_is_within_one_step():
    calls = []
    with pytest.raises(Stopped):
        search(quiet_toy("gpt2"), padded([[5, 6]]), 2, 10, [2], True, lambda: calls.append(0) or len(calls) == 3)
    assert len(calls) == 3


# Which models can decode beams as a tree


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_found_out_which_architectures_take_it(name):
    assert fits(toy_config(name))


def test_positions_made_of_distances_in_the_sequence_do_not_take_it():
    from transformers import AutoConfig

    assert not fits(AutoConfig.for_model("bloom", vocab_size=128, hidden_size=32, n_layer=2, n_head=4))
    assert not fits(toy_config("rwkv"))


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_a_forgotten_window_would_be_found(monkeypatch, name):
    model = quiet_toy(name)
    assert is_exact(model)
    monkeypatch.setattr(Tree, "_within", lambda tree, window: tree._seen)
    assert not is_exact(model)


def test_a_past_that_is_not_its_own_would_be_found(monkeypatch):
    model, real = quiet_toy("llama"), Tree.branch
    monkeypatch.setattr(Tree, "branch", lambda tree, parents: real(tree, torch.zeros_like(parents)))
    assert not is_exact(model)


def test_enough_candidates_are_kept_for_every_beam_to_go_on():
    assert [kept(5, [2]), kept(3, []), kept(2, [1, 2, 3])] == [10, 6, 8]
