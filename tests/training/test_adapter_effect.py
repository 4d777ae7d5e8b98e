"""The adapter-effect measures: divergence and norms match their definitions, and measuring does not disturb
training."""

from __future__ import annotations

import pytest
import torch
from adapters import disturb
from tiny_lab import DROPOUT, RUN, Recorder, go, light, some_examples, tiny_with, toy  # noqa: F401

from instruct_tune.config.run_config import LoraSettings
from instruct_tune.evaluation.adapter_effect import AdapterEffect, LayerNorm, layer_norms, measure_adapter_effect
from instruct_tune.models import lora
from instruct_tune.models.lora import BASE
from instruct_tune.tokenization.encode import tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.ui.compare.effect_text import bars, evaluated_answers, norms_sentence, sentence

ALL_LINEAR = LoraSettings(r=4, lora_alpha=10, target_modules="all-linear")


def noisy(kind: str):
    loaded = toy(kind)
    lora.attach(loaded, RUN, ALL_LINEAR, seed=1)
    disturb(loaded, RUN, scale=0.1)
    return loaded


@pytest.mark.parametrize("kind", ["llama", "gpt2", "cohere", "opt"])
def test_the_divergence_is_that_of_the_whole_distributions(kind):
    loaded = noisy(kind)
    rows = some_examples(3)
    total, changed, places = 0.0, 0, 0
    for row in tokenize_examples(loaded.tokenizer, LESSON, rows, 512):
        logits = {}
        for adapter_name in (BASE, RUN):
            with lora.answering_as(loaded, [adapter_name]), torch.no_grad():
                logits[adapter_name] = loaded.model(input_ids=torch.tensor([row.input_ids])).logits[0]
        answer = slice(row.prompt_length - 1, len(row.input_ids) - 1)
        p, q = (logits[adapter_name][answer].double().log_softmax(-1) for adapter_name in (RUN, BASE))
        total += float((p.exp() * (p - q)).sum())
        changed += int((p.argmax(-1) != q.argmax(-1)).sum())
        places += len(p)
    effect = measure_adapter_effect(loaded, LESSON, rows, RUN)
    assert (effect.rows, effect.tokens) == (3, places)
    assert effect.kl == pytest.approx(total / places, rel=1e-3)
    assert effect.kl > 1e-5
    assert effect.changed == changed / places


def test_an_adapter_that_is_still_zero_does_nothing():
    effect = measure_adapter_effect(tiny_with(DROPOUT), LESSON, some_examples(2), RUN)
    assert (effect.kl, effect.changed) == (0.0, 0.0)
    assert {layer.norm for layer in effect.layers} == {0.0}
    assert sentence(effect).startswith("**No:")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_norms_are_those_of_the_dense_products(kind):
    loaded = noisy(kind)
    squares: dict[int, float] = {}
    parameters = dict(loaded.base.named_parameters())
    for path, a in parameters.items():
        if "lora_A" in path:
            b = parameters[path.replace("lora_A", "lora_B")]
            layer = int(next(part for part in path.split(".") if part.isdigit()))
            squares[layer] = (
                squares.get(layer, 0.0) + float((10 / 4 * b.detach().double() @ a.detach().double()).norm()) ** 2
            )
    norms = layer_norms(loaded, RUN)
    assert [layer_norm.layer for layer_norm in norms] == [0, 1]
    assert [layer_norm.norm for layer_norm in norms] == pytest.approx([squares[0] ** 0.5, squares[1] ** 0.5], rel=1e-9)
    assert all(0 < layer_norm.share < 10 for layer_norm in norms)


def test_a_training_does_not_notice(tmp_path):
    alone, measured = tiny_with(DROPOUT), tiny_with(DROPOUT)
    watched, _ = go(alone, tmp_path / "alone")
    kls = []
    watcher = Recorder(
        between=lambda step: kls.append(measure_adapter_effect(measured, LESSON, some_examples(2), RUN).kl)
    )
    go(measured, tmp_path / "measured", watcher=watcher)
    assert watcher.losses == watched.losses
    assert kls[-1] > kls[0]


LAYERS = (LayerNorm(0, 1.0, 0.01), LayerNorm(1, 4.0, 0.04), LayerNorm(None, 2.0, 0.5))


@pytest.mark.parametrize(
    ("kl", "expected"), [(0.0, "No:"), (0.005, "Hardly"), (0.05, "A little"), (0.5, "Yes: its"), (3.0, "collapsed")]
)
def test_the_verdict_grows_with_the_divergence(kl, expected):
    assert expected in sentence(AdapterEffect(8, 100, kl, 0.25, LAYERS))


def test_it_tells_what_the_last_evaluation_counted():
    evaluation = {"rows": 40, "identical": 3, "tuned_ended": 33, "base_ended": 8}
    text = sentence(AdapterEffect(8, 100, 0.5, 0.25, LAYERS)) + evaluated_answers(evaluation)
    assert "0.5 nats a token, and at 25% of them another token" in text
    assert "37 of 40 answers changed, 33 of 40 ended by themselves with EOS (8 of base)" in text


def test_the_bars_are_shares_of_the_largest_and_have_words():
    shown = bars(LAYERS)
    assert [bar["height"] for bar in shown["bars"]] == [25, 100, 50]
    assert (shown["first"], shown["last"]) == ("layer 0", "outside the layers")
    assert "from 1 (layer 0) to 4 (layer 1), there 4% of" in norms_sentence(LAYERS)
    assert bars([])["bars"] == []
