"""Helpers for the tests of generation: a tiny model, an adapter that changes its answers, prompts, and settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_lab import DROPOUT, RUN, go, loud, some_examples
from transformers import GenerationConfig, pipeline

from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.generation.answer import Answer
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.base_model import LoadedModel
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


def answers_of(loaded: LoadedModel, prompts, adapter_name: str, settings: GenerationSettings, **how) -> list[Answer]:
    return generate(loaded, [Request(prompt, adapter_name) for prompt in prompts], settings, **how)


def pipeline_texts(model, tokenizer, texts, settings: GenerationSettings) -> list[str]:
    """The lesson's call, one text at a time; its defaults would sample."""
    chosen = dataclasses.asdict(settings)
    for name in ("seed", "temperature", "top_p", *(["early_stopping"] if settings.num_beams == 1 else [])):
        del chosen[name]
    config = GenerationConfig(**{name: value for name, value in chosen.items() if value is not None})
    complete = pipeline("text-generation", model=model, tokenizer=tokenizer)
    return [complete(text, generation_config=config, return_full_text=False)[0]["generated_text"] for text in texts]


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
