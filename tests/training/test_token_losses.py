"""The losses of an answer's tokens are those of the model, even while another run trains on it."""

from __future__ import annotations

import math

import pytest
import torch
from adapters import disturb
from tiny_lab import (
    DROPOUT,
    RUN,
    Recorder,
    adapter_weights,
    go,
    light,  # noqa: F401
    reads_images,
    same_tensors,
    tiny_with,
    toy,
)

from instruct_tune.batching.loss import supervised_count
from instruct_tune.config.run_config import GenerationSettings, LoraSettings
from instruct_tune.data.splits import Example
from instruct_tune.errors import DataError
from instruct_tune.evaluation import score_row, token_losses
from instruct_tune.evaluation.token_losses import answer_losses
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel
from instruct_tune.models.lora import BASE
from instruct_tune.tokenization.encode import tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON

ROW = Example("Say six", "", "6 is it. <b>${x}</b> é 🙂")
# Cohere scales its logits, so its head is not separable; the rest have different kinds of layers.
KINDS = ("llama", "gpt2", "cohere", "opt")


def with_noise(loaded: LoadedModel) -> LoadedModel:
    """Attach an adapter that changes the outputs."""
    lora.attach(loaded, RUN, LoraSettings(r=4, lora_alpha=8), seed=1)
    disturb(loaded, RUN, scale=0.3)
    return loaded


def models_own_loss(loaded: LoadedModel, example: Example, adapter_name: str) -> float:
    """The summed cross entropy of the row, from the mean that the model itself computes from ids and labels."""
    row = tokenize_examples(loaded.tokenizer, LESSON, [example], 1024)[0]
    ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
    with lora.answering_as(loaded, [adapter_name]), torch.no_grad():
        return float(loaded.model(input_ids=ids, labels=labels).loss) * supervised_count([row])


@pytest.mark.parametrize("kind", KINDS)
def test_they_sum_to_the_models_own_loss_on_the_row(kind):
    loaded = with_noise(toy(kind))
    losses = answer_losses(loaded, LESSON, ROW, RUN)
    assert losses.base == pytest.approx(models_own_loss(loaded, ROW, BASE), rel=1e-5)
    assert losses.tuned == pytest.approx(models_own_loss(loaded, ROW, RUN), rel=1e-5)
    assert abs(losses.base - losses.tuned) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_places_at_a_time_say_the_same(kind, monkeypatch):
    loaded = with_noise(toy(kind))
    whole = answer_losses(loaded, LESSON, ROW, RUN)
    seen = []
    read = token_losses._score_tokens
    monkeypatch.setattr(score_row, "LOGITS_AT_ONCE", 3 * loaded.base.config.vocab_size)
    monkeypatch.setattr(token_losses, "_score_tokens", lambda *args: seen.append(len(args[1])) or read(*args))
    parts = answer_losses(loaded, LESSON, ROW, RUN)
    # Whatever the row's length, no more logits than these exist at once.
    assert max(seen) == 3
    assert [token.tuned.loss for token in parts.tokens] == pytest.approx(
        [token.tuned.loss for token in whole.tokens], rel=1e-5
    )


def test_the_tokens_are_the_answer_and_its_end():
    losses = answer_losses(with_noise(toy("llama")), LESSON, ROW, RUN)
    assert "".join(token.text for token in losses.tokens[:-1]) == ROW.output
    assert [token.ends for token in losses.tokens] == [False] * (len(losses.tokens) - 1) + [True]
    assert losses.cut == 0


def test_the_candidates_are_the_likeliest_and_a_likely_token_is_among_them():
    loaded = with_noise(toy("llama"))
    for token in answer_losses(loaded, LESSON, ROW, RUN).tokens:
        for opinion in (token.base, token.tuned):
            top = [candidate.probability for candidate in opinion.candidates]
            assert len(top) == token_losses.CANDIDATES
            assert top == sorted(top, reverse=True)
            mine = [c.probability for c in opinion.candidates if c.id == token.id]
            assert mine == [pytest.approx(opinion.probability, rel=1e-5)] if mine else opinion.probability <= top[-1]
        assert token.gain == pytest.approx(math.log(token.tuned.probability / token.base.probability), abs=1e-6)


def test_a_long_answer_is_looked_at_from_its_beginning(monkeypatch):
    loaded = with_noise(toy("llama"))
    whole = answer_losses(loaded, LESSON, ROW, RUN)
    prompt = tokenize_examples(loaded.tokenizer, LESSON, [ROW], 1024)[0].prompt_length
    monkeypatch.setattr(token_losses, "MAX_TOKENS", prompt + 4)
    losses = answer_losses(loaded, LESSON, ROW, RUN)
    assert (len(losses.tokens), losses.cut) == (4, len(whole.tokens) - 4)
    assert not losses.tokens[-1].ends
    assert [token.base.loss for token in losses.tokens] == pytest.approx([t.base.loss for t in whole.tokens[:4]])
    monkeypatch.setattr(token_losses, "MAX_TOKENS", prompt)
    with pytest.raises(DataError, match="choose a shorter row"):
        answer_losses(loaded, LESSON, ROW, RUN)


def test_a_training_does_not_notice(tmp_path):
    """With dropout, which draws random numbers at every step."""
    alone = tiny_with(DROPOUT)
    watched, _ = go(alone, tmp_path / "alone")
    measured = tiny_with(DROPOUT)
    losses = []
    watcher = Recorder(between=lambda step: losses.append(answer_losses(measured, LESSON, ROW, RUN).tuned))
    go(measured, tmp_path / "measured", watcher=watcher)
    assert watcher.losses == watched.losses
    assert same_tensors(adapter_weights(measured), adapter_weights(alone))
    # The half-trained adapter is measured.
    assert len(set(losses)) == len(losses) > 3


def test_a_model_that_reads_images_too_answers_and_has_token_losses():
    loaded = reads_images()
    lora.attach(loaded, RUN, LoraSettings(r=4, lora_alpha=8, target_modules=("q_proj", "v_proj")), seed=1)
    losses = answer_losses(loaded, LESSON, ROW, RUN)
    assert losses.base == pytest.approx(models_own_loss(loaded, ROW, BASE), rel=1e-5)
    answers = generate(loaded, [Request((5, 9, 17), BASE), Request((3, 4), RUN)], GenerationSettings(max_new_tokens=4))
    assert [answer.tokens for answer in answers] == [4, 4]
