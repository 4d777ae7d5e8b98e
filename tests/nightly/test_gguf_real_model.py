"""A recorded run of the default model in real llama.cpp: as the lab in float32, and how many differ in 4 bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from llama_cpp import LlamaCpp, write_base

from instruct_tune.config.run_config import DEFAULT_MODEL, GenerationSettings
from instruct_tune.export.gguf_adapter import write_gguf
from instruct_tune.generation.generate import Request, generate
from instruct_tune.models import lora
from instruct_tune.models.base_model import load_model
from instruct_tune.pretrained.locate import unpack_wheel
from instruct_tune.runs.examples import ASSETS
from instruct_tune.tokenization.encode import encode_prompts
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.util.progress import Loading

ADAPTER = ASSETS / "good" / "adapter"
TOKENS = 48
QUESTIONS = [
    f"{task} in {language}."
    for task in ("Reverse a string", "Sort a list of numbers", "Read a file", "Say hello", "Add two numbers")
    for language in ("Python", "JavaScript", "SQL", "C")
]


pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def loaded():
    loaded = load_model(DEFAULT_MODEL, print)
    lora.load(loaded, "run", ADAPTER)
    return loaded


@pytest.fixture(scope="module")
def adapter(loaded, tmp_path_factory) -> Path:
    to = tmp_path_factory.mktemp("gguf") / "adapter.gguf"
    write_gguf(ADAPTER, loaded.weights.path, to, {})
    return to


@pytest.fixture(scope="module")
def prompts(loaded) -> list[list[int]]:
    return encode_prompts(loaded.tokenizer, LESSON, [(question, "") for question in QUESTIONS])


@pytest.fixture(scope="module")
def ours(loaded, prompts) -> dict[str, list[list[int]]]:
    """The lab's greedy answers of base and of the run, EOS included."""
    answers = {}
    for name in (lora.BASE, "run"):
        requests = [Request(tuple(prompt), name) for prompt in prompts]
        decoded = generate(loaded, requests, GenerationSettings(max_new_tokens=TOKENS), trace=True)
        answers[name] = [[step[0].token for step in answer.trace.steps] for answer in decoded]
    return answers


def theirs(base: Path, adapter: Path | None, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    engine = LlamaCpp(base, adapter)
    return [[token for token, _ in engine.greedy(prompt, TOKENS)] for prompt in prompts]


def test_on_the_base_model_in_float32_all_tokens_are_the_same(loaded, adapter, prompts, ours, tmp_path):
    base = write_base(loaded.base, tmp_path / "base.gguf")
    assert theirs(base, adapter, prompts) == ours["run"]
    assert sum(map(list.__ne__, ours[lora.BASE], ours["run"])) >= 15, "the adapter is heard"


@pytest.mark.parametrize(("name", "most"), [(lora.BASE, 16), ("run", 10)])
def test_on_the_four_bit_file_of_the_same_weights_some_answers_differ(adapter, prompts, ours, tmp_path, name, most):
    """Its weights are the lab's, but llama.cpp rounds what they are multiplied with to 8 bits."""
    file = unpack_wheel(tmp_path, print, Loading(lambda: False))
    answers = theirs(file, adapter if name == "run" else None, prompts)
    differ = sum(map(list.__ne__, answers, ours[name]))
    print(f"{name}: {differ} of {len(prompts)} answers differ")
    assert differ <= most
