"""The workload: a model for both sides, rows to train on, prompts to answer, and how many of each."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from instruct_tune.batching.packing_trial import detect_packing
from instruct_tune.config.run_config import DEFAULT_MODEL, DataSettings, GenerationSettings
from instruct_tune.data.splits import Example, examples, load_splits
from instruct_tune.models.base_model import LoadedModel, best_device, load_model, make_ready, weights_dtype
from instruct_tune.pretrained.locate import Weights, locate
from instruct_tune.tokenization.encode import TokenizedExample, tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON

from .peak import matmul_peak

MAX_LENGTH = 1024


@dataclass(frozen=True)
class Setting:
    """The amount of work. The defaults are those of the table in docs/benchmarks.md."""

    model: str = DEFAULT_MODEL
    dataset: str = "bundled"
    rows: int = 16
    prompts: int = 24
    stock_prompts: int = 8
    new_tokens: int = 50
    repeat: int = 3
    viewers: int = 20
    window_seconds: float = 6
    growth: int = 4
    data_rows: int = 20_000
    file_rows: int = 500_000


QUICK = replace(Setting(), rows=8, prompts=8, stock_prompts=2, repeat=1, window_seconds=5, growth=2)


class Subject:
    """One model twice: as the lab loads it, and as transformers makes it, new for each use.

    The lab's is loaded at first use, so that a process that measures only the other side does not hold it. Both are on
    ``device`` in ``dtype``.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        plain: Callable[[], PreTrainedModel],
        load: Callable[[], LoadedModel],
    ):
        self.tokenizer, self._plain, self._load = tokenizer, plain, load
        self.device, self.dtype = torch.device(best_device()), weights_dtype("auto")

    @cached_property
    def loaded(self) -> LoadedModel:
        return self._load()

    def plain(self) -> PreTrainedModel:
        return self._plain().to(self.device)


def named_model(name: str) -> Subject:
    """A model by its name, located as the lab does."""
    path = locate(name, _log).path
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return Subject(
        tokenizer,
        lambda: AutoModelForCausalLM.from_pretrained(path, dtype=weights_dtype("auto")),
        lambda: load_model(name, _log),
    )


def random_model(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> Subject:
    """An architecture with random weights, which are as fast as trained ones."""

    def plain() -> PreTrainedModel:
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=weights_dtype("auto"))

    def load() -> LoadedModel:
        base, traits = plain(), detect_packing(config)
        make_ready(base)
        weights = Weights(config.model_type, Path(), "random", "")
        return LoadedModel(base, base, tokenizer, weights, traits.packing, traits.separable)

    return Subject(tokenizer, plain, load)


def _log(text: str) -> None:
    print(text, file=sys.stderr)


class Workload:
    """Model, rows and prompts of a setting, each made at first use."""

    def __init__(self, setting: Setting):
        self.setting = setting

    @cached_property
    def subject(self) -> Subject:
        return named_model(self.setting.model)

    @cached_property
    def training(self) -> list[tuple[Example, TokenizedExample]]:
        """Rows to train on, as text and as token ids; rows longer than ``MAX_LENGTH`` are left out."""
        chosen = examples(self._splits.train, 0, self.setting.rows)
        tokenized = tokenize_examples(self.subject.tokenizer, LESSON, chosen, MAX_LENGTH)
        return [(text, ids) for text, ids in zip(chosen, tokenized, strict=True) if not ids.truncated]

    @cached_property
    def prompts(self) -> list[Example]:
        return examples(self._splits.test, 0, self.setting.prompts)

    @property
    def stock_prompts(self) -> list[Example]:
        """Prompts for the slow side: every n-th one, so that their lengths are like those of the rest."""
        return self.prompts[:: max(1, len(self.prompts) // self.setting.stock_prompts)][: self.setting.stock_prompts]

    def generation(self, beams: int) -> GenerationSettings:
        return GenerationSettings(max_new_tokens=self.setting.new_tokens, num_beams=beams, early_stopping=beams > 1)

    @cached_property
    def peak(self) -> float:
        """The machine's matrix-multiply peak in operations a second, in the training precision."""
        return matmul_peak(self.subject.device, self.subject.dtype)

    @cached_property
    def _splits(self):
        return load_splits(DataSettings(source=self.setting.dataset))
