"""The lab's side of the benchmarks: training and decoding, called as the page and the command line do."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from instruct_tune.config.run_config import GenerationSettings, LoraSettings, TrainSettings
from instruct_tune.data.splits import Example
from instruct_tune.generation.generate import Request, generate
from instruct_tune.kernels import bf16_products
from instruct_tune.models import lora as adapter
from instruct_tune.tokenization.encode import TokenizedExample, encode_prompts
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.training.train import train
from instruct_tune.training.types import TrainingData

from .workload import Subject

RUN = "benchmark"
LEARNING_RATE = 5e-4


@dataclass(frozen=True)
class Trained:
    """One epoch: seconds from the start of the first step to the end of the last, and the mean of the steps' losses."""

    seconds: float
    loss: float


class Watch:
    """A ``types.TrainingListener`` with a clock: from the start of the first step to the last loss."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.losses: list[float] = []

    def log_event(self, text: str) -> None: ...

    def phase(self, name: str) -> None: ...

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        self.ended = time.perf_counter()
        self.losses.append(values["loss"])

    def multiplies(self, in_bf16: bool) -> None: ...

    def progress(self, step: int, total_steps: int) -> None: ...

    def part(self, done: int, total: int) -> None: ...

    def probed(self, step: int, adapter_name: str) -> None: ...

    def evaluated(self, step: int, epoch: float) -> None: ...

    def yield_to_queue(self) -> None:
        self.began = self.began or time.perf_counter()

    def stopping(self) -> bool:
        return False


def lab_trains(
    subject: Subject,
    rows: Sequence[TokenizedExample],
    batch: int,
    lora: LoraSettings | None = None,
    bf16: bool | str = "auto",
) -> Trained:
    """One epoch over ``rows`` with ``instruct_tune.training.train``; ``bf16`` is ``train.bf16``."""
    loaded = subject.loaded
    settings = TrainSettings(
        per_device_train_batch_size=batch,
        learning_rate=LEARNING_RATE,
        bf16=bf16,
        probes=0,
        eval_strategy="no",
        save_strategy="no",
        save_minutes=None,
    )
    adapter.attach(loaded, RUN, lora or LoraSettings(), seed=42)
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        train(loaded, RUN, TrainingData(rows, [], []), settings, Path(folder), watch)
    adapter.remove(loaded, RUN)
    return Trained(watch.ended - watch.began, statistics.fmean(watch.losses))


def has_bf16_products(subject: Subject) -> bool:
    """Whether a run on this machine multiplies in bfloat16 in its steps, if it may, and is float32 elsewhere."""
    return bf16_products.is_faster() and bool(bf16_products.suitable_layers(subject.loaded.base))


def lab_answers(
    subject: Subject,
    prompts: Sequence[Example],
    settings: GenerationSettings,
    adapter_names: Sequence[str] = (adapter.BASE,),
) -> list[str]:
    """One answer for each prompt and adapter name in ``adapter_names``, in a single call of ``generation.generate``."""
    loaded = subject.loaded
    encoded = encode_prompts(loaded.tokenizer, LESSON, [(e.instruction, e.input) for e in prompts])
    requests = [Request(tuple(prompt), adapter_name) for prompt in encoded for adapter_name in adapter_names]
    return [answer.text for answer in generate(loaded, requests, settings)]
