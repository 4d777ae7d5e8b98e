"""The slow tests of tests/training/test_generation.py, for the nightly run."""

from __future__ import annotations

import torch
from generation_lab import GREEDY, answers_of, pipeline_texts
from tiny_lab import DROPOUT, RUN, light, quiet

from instruct_tune.config.run_config import DEFAULT_MODEL, DataSettings, GenerationSettings
from instruct_tune.data.splits import examples, load_splits
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.base_model import load_model
from instruct_tune.models.lora import BASE
from instruct_tune.tokenization.encode import encode_prompts
from instruct_tune.tokenization.prompt_template import LESSON


def test_the_real_model_says_what_the_pipeline_says(tmp_path):
    loaded = load_model(DEFAULT_MODEL, quiet)
    rows = examples(load_splits(DataSettings()).test, count=3)
    texts = [LESSON.render(row.instruction, row.input) for row in rows]
    prompts = [tuple(ids) for ids in encode_prompts(loaded.tokenizer, LESSON, [(r.instruction, r.input) for r in rows])]
    for settings in (
        GenerationSettings(max_new_tokens=32),
        GenerationSettings(max_new_tokens=24, num_beams=5, early_stopping=True),
        GenerationSettings(max_new_tokens=None, max_length=50),
    ):
        expected = pipeline_texts(loaded.base, loaded.tokenizer, texts, settings)
        assert [answer.text for answer in answers_of(loaded, prompts, BASE, settings)] == expected
    before = answers_of(loaded, prompts, BASE, GREEDY)
    lora.attach(loaded, RUN, DROPOUT, seed=1)
    with torch.no_grad():
        for name, matrix in loaded.model.named_parameters():
            if "lora_B" in name:
                matrix.normal_(std=0.05, generator=torch.Generator().manual_seed(3))
    tuned = answers_of(loaded, prompts, RUN, GREEDY)
    assert tuned != before
    mixed = generate(loaded, [Request(prompt, adapter) for prompt in prompts for adapter in (BASE, RUN)], GREEDY)
    assert mixed == [answer for pair in zip(before, tuned, strict=True) for answer in pair]
