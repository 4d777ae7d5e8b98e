"""What is shown of a search equals transformers' ``generate``: ids, scores, and the five best answers."""

from __future__ import annotations

import math

import pytest
import torch
import toys
from adapters import disturb
from tiny_lab import RUN, light, loud, tiny  # noqa: F401

from instruct_tune.config.run_config import LoraSettings
from instruct_tune.errors import DataError, ModelError, Stopped
from instruct_tune.generation import generate as generation
from instruct_tune.generation.generate import Request, end_tokens
from instruct_tune.generation.search import BEAMS, BeamTree, GreedyAnswer, beam_trees, greedy_answers
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.models.lora import BASE
from instruct_tune.tokenization.continuation import encode_continuations
from instruct_tune.tokenization.token_text import TokenText, token_text

PROMPT = (5, 9, 17, 60, 61)
REQUESTS = [Request(PROMPT, BASE), Request(PROMPT, RUN)]
HOSTILE = "<img src=x onerror=alert(1)>${7*7}</script>\n\t `é` 🙂 \u202e"


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """The tiny model with an adapter that changes its answers, whose answers often end early."""
    loaded = loud()
    lora.attach(loaded, RUN, LoraSettings(r=4, lora_alpha=8), seed=1)
    disturb(loaded, RUN, scale=0.3)
    return loaded


@pytest.fixture
def ending(monkeypatch, loaded) -> list[int]:
    """Many end tokens, so that answers end at different steps."""
    ends = list(range(3, loaded.vocabulary, 9))
    for module in ("generate", "search"):
        monkeypatch.setattr(f"instruct_tune.generation.{module}.end_tokens", lambda loaded, stop=(): ends)
    return ends


def theirs(loaded: LoadedModel, adapter_name: str, prompt: tuple[int, ...], tokens: int, beams: int = 1):
    """The output of transformers' own loop, with scores, for as many answers as beams."""
    config = generation.generation_config(
        loaded, generation.GenerationSettings(max_new_tokens=tokens, num_beams=beams), tokens
    )
    config.return_dict_in_generate = config.output_scores = config.output_logits = True
    config.num_return_sequences = beams
    ids = torch.tensor([prompt])
    with lora.answering_as(loaded, [adapter_name]), torch.no_grad():
        return loaded.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)


def without_padding(ids: list[int], ends: list[int]) -> list[int]:
    return ids[: next((at for at, token in enumerate(ids) if token in ends), len(ids)) + 1]


def chosen(answer: GreedyAnswer) -> list[int]:
    return [place[0].token.id for place in answer.places]


def ids_and_score(tree: BeamTree, step: int, index: int) -> tuple[list[int], float]:
    """A finished answer's ids, and its score divided by its length."""
    path = tree.path(step, index)
    return [beam.token.id for beam in path], path[-1].score / len(path)


@pytest.mark.parametrize("tokens", [1, 6, 20])
def test_the_finished_beams_are_generates_ids_and_scores(loaded, ending, tokens):
    trees = beam_trees(loaded, REQUESTS, tokens)
    for request, tree in zip(REQUESTS, trees, strict=True):
        expected = theirs(loaded, request.adapter_name, PROMPT, tokens, BEAMS)
        best = [ids_and_score(tree, *place) for place in tree.finished]
        ids = [without_padding(row, ending) for row in expected.sequences[:, len(PROMPT) :].tolist()]
        assert [each for each, _ in best] == ids
        assert [score for _, score in best] == pytest.approx(expected.sequences_scores.tolist(), abs=1e-4)
    assert trees[0] != trees[1]


def test_a_tree_of_answers_that_do_not_end_is_whole(loaded):
    for request, tree in zip(REQUESTS, beam_trees(loaded, REQUESTS, 8), strict=True):
        expected = theirs(loaded, request.adapter_name, PROMPT, 8, BEAMS)
        best, score = ids_and_score(tree, *tree.finished[0])
        assert best == expected.sequences[0, len(PROMPT) :].tolist()
        assert score == pytest.approx(expected.sequences_scores[0].item(), abs=1e-4)
        for step, beams in enumerate(tree.steps):
            assert sum(not beam.ended for beam in beams) == (BEAMS if step < 7 else 0)


def test_a_greedy_answer_is_generates_with_its_probabilities(loaded):
    answers = greedy_answers(loaded, REQUESTS, 12)
    for request, answer in zip(REQUESTS, answers, strict=True):
        expected = theirs(loaded, request.adapter_name, PROMPT, 12)
        assert chosen(answer) == expected.sequences[0, len(PROMPT) :].tolist()
        for place, logits in zip(answer.places, expected.logits, strict=True):
            likeliest = logits[0].log_softmax(-1).topk(5)
            assert [choice.token.id for choice in place] == likeliest.indices.tolist()
            assert [choice.log_probability for choice in place] == pytest.approx(likeliest.values.tolist(), abs=1e-4)
            assert math.fsum(math.exp(choice.log_probability) for choice in place) <= 1 + 1e-6
    assert answers[0] != answers[1]


def test_a_branch_is_generation_from_that_prefix(loaded):
    answer = greedy_answers(loaded, REQUESTS, 12)[1]
    prefix = (*chosen(answer)[:4], answer.places[4][3].token.id)
    branches = greedy_answers(loaded, REQUESTS, 10, prefix)
    for request, branch in zip(REQUESTS, branches, strict=True):
        expected = theirs(loaded, request.adapter_name, (*PROMPT, *prefix), 10)
        assert tuple(token.id for token in branch.prefix) == prefix
        assert chosen(branch) == expected.sequences[0, len(PROMPT) + len(prefix) :].tolist()
    # The answer's own tokens lead to the answer itself.
    again = greedy_answers(loaded, REQUESTS, 8, chosen(answer)[:4])[1]
    assert chosen(again) == chosen(answer)[4:]


def test_nothing_follows_the_end(loaded):
    end = end_tokens(loaded)[0]
    for branch in greedy_answers(loaded, REQUESTS, 10, (7, end)):
        assert branch.places == ()
        assert [token.ends for token in branch.prefix] == [False, True]


@pytest.mark.parametrize("prefix", [(-1,), (10**30,), (3, 10**6)])
def test_ids_of_no_token_are_refused(loaded, prefix):
    with pytest.raises(DataError, match="ids 0 to"):
        greedy_answers(loaded, REQUESTS, 4, prefix)


def test_a_stop_is_within_one_step(loaded):
    for decode in (greedy_answers, beam_trees):
        calls: list[int] = []
        with pytest.raises(Stopped):
            decode(loaded, REQUESTS, 12, stopping=lambda calls=calls: calls.append(0) or len(calls) == 3)
        assert len(calls) == 3


def test_a_model_that_transformers_decodes_is_refused_in_a_sentence(loaded, monkeypatch):
    monkeypatch.setattr("instruct_tune.generation.search.decodes_itself", lambda *_: False)
    with pytest.raises(ModelError, match="own beam search answers for this model"):
        beam_trees(loaded, REQUESTS, 4)


# Texts of tokens


def test_texts_join_to_the_answer_and_half_characters_are_bytes():
    tokenizer = tiny().tokenizer
    ids = tokenizer(HOSTILE, add_special_tokens=False)["input_ids"]
    texts = [token_text(tokenizer, ids[:at], token) for at, token in enumerate(ids)]
    assert "".join(each.text for each in texts) == HOSTILE
    assert "�" not in "".join(each.text for each in texts)
    # The tiny tokenizer's tokens are bytes: a smiley is three unfinished ones and the last.
    end = texts.index(TokenText("🙂")) + 1
    assert texts[end - 4 : end] == [TokenText("", "F0"), TokenText("", "9F"), TokenText("", "99"), TokenText("🙂")]


def test_a_broken_character_does_not_swallow_what_follows():
    tokenizer = tiny().tokenizer
    first, letter = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ("🙂", "x"))
    assert token_text(tokenizer, [], first) == TokenText("", "F0")
    assert token_text(tokenizer, [first], first) == TokenText("", "F0")
    assert token_text(tokenizer, [first], letter) == TokenText("x")
    assert token_text(tokenizer, [first, letter], letter) == TokenText("x")


def test_sentencepiece_tokens_keep_their_space_and_their_bytes():
    tokenizer = toys.llama()
    ids = encode_continuations(tokenizer, ["a b 🙂"])[0]
    texts = [token_text(tokenizer, ids[:at], token) for at, token in enumerate(ids)]
    assert "".join(each.text for each in texts) == "a b 🙂"
    assert [each.bytes for each in texts[-4:]] == ["F0", "9F", "99", ""]


def test_special_tokens_are_spelled_out():
    tokenizer = tiny().tokenizer
    assert token_text(tokenizer, [], tokenizer.eos_token_id).text == tokenizer.eos_token
