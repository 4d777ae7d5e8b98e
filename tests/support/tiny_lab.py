"""Helpers for the tests of adapters, training and decoding: a tiny model, rows, and a recording listener."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import AutoConfig, AutoModelForCausalLM

from instruct_tune.batching.packing_mode import Packing
from instruct_tune.batching.packing_trial import detect_packing
from instruct_tune.batching.sampler import EpochSampler
from instruct_tune.config.run_config import LoraSettings, TrainSettings
from instruct_tune.data.splits import Example
from instruct_tune.models import lora as adapter
from instruct_tune.models.base_model import LoadedModel, load_model
from instruct_tune.tokenization.encode import IGNORE, TokenizedExample, tokenize_examples
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.training.train import train
from instruct_tune.training.types import TrainingData, TrainingResult

RUN = "run"
"""The name of the adapter that trains."""

DROPOUT = LoraSettings(r=4, lora_alpha=8, lora_dropout=0.1)
NO_DROPOUT = replace(DROPOUT, lora_dropout=0.0)

# Six steps over two epochs; the last step of each epoch has two rows instead of four.
SIX_STEPS = TrainSettings(
    num_train_epochs=2,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=2,
    learning_rate=1e-2,
    probes=1,
    save_minutes=None,
)
ROWS = 10


@pytest.fixture(autouse=True, scope="module")
def light(one_thread: None, no_deprecated_calls: None) -> None:
    """For a module that imports it: toy models on one thread."""


def quiet(message: str) -> None:
    """A progress callback that does nothing."""


def tiny() -> LoadedModel:
    """The smoke preset's model, unchanged."""
    return load_model("tiny-random", quiet)


def tiny_with(lora: LoraSettings = DROPOUT, seed: int = 1) -> LoadedModel:
    """The tiny model with a fresh adapter to train."""
    loaded = tiny()
    adapter.attach(loaded, RUN, lora, seed)
    return loaded


def loud() -> LoadedModel:
    """The tiny model with larger weights: its texts differ, and its tokens' scores by more than rounding."""
    loaded = tiny()
    with torch.no_grad():
        for parameter in loaded.base.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return loaded


# The sizes under each name that an architecture uses; a configuration takes those that it has.
_TOY_SIZES = {
    "hidden_size": 32, "n_embd": 32, "word_embed_proj_dim": 32, "intermediate_size": 48, "ffn_dim": 48,
    "num_hidden_layers": 2, "n_layer": 2, "num_attention_heads": 4, "n_head": 4, "num_key_value_heads": 2,
    "head_dim": 8, "query_pre_attn_scalar": 8, "max_position_embeddings": 256, "n_positions": 256,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    "dropout": 0.0, "attention_dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip


def toy(model_type: str, packing: Packing | None = None, **changed: object) -> LoadedModel:
    """A random model of another architecture, with the tiny model's tokenizer.

    ``packing`` overrides the packing detected for it, ``changed`` the fields that its configuration has.
    """
    reference = tiny()
    defaults = AutoConfig.for_model(model_type)
    fields = {"vocab_size": len(reference.tokenizer)} | _TOY_SIZES | changed
    config = AutoConfig.for_model(
        model_type, **{name: value for name, value in fields.items() if hasattr(defaults, name)}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    detected = detect_packing(base.config)
    return LoadedModel(
        base, base, reference.tokenizer, reference.weights, packing or detected.packing, detected.separable
    )


def reads_images() -> LoadedModel:
    """A random model whose sizes stand in a part of its configuration, beside a part that reads images."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
    text = {**sizes, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(tiny().tokenizer)}
    return toy("gemma3", text_config=text, vision_config={**sizes, "image_size": 28, "patch_size": 14})


def some_examples(count: int, start: int = 0) -> list[Example]:
    """Rows that differ in the lengths of their prompts and, much more, of their answers."""
    return [
        Example(f"Say {n}" + " please" * (n % 4), "", f"{n * n} is it. " * (1 + 3 * (n % 3)))
        for n in range(start, start + count)
    ]


def some_rows(loaded: LoadedModel, count: int, start: int = 0) -> list[TokenizedExample]:
    return tokenize_examples(loaded.tokenizer, LESSON, some_examples(count, start), 1024)


def some_data(loaded: LoadedModel) -> TrainingData:
    return TrainingData(some_rows(loaded, ROWS), some_rows(loaded, 5, 20), some_rows(loaded, 3, 40))


class Recorder:
    """A ``types.TrainingListener`` that records every call, and requests a stop at a step.

    ``at`` is the moment of the request, relative to step ``stop_after``: when the step is done (``progress``),
    between it and the next one (``yield_to_queue``), or in the evaluation after it (``evaluating``).
    ``between`` is called with the step between steps.
    """

    def __init__(
        self,
        stop_after: int | None = None,
        at: str = "progress",
        between: Callable[[int], object] = lambda step: None,
    ):
        self.stop_after, self.at, self.between = stop_after, at, between
        self.stop = False
        self.in_bf16: list[bool] = []
        self.step = 0
        self.steps: list[tuple[int, int]] = []
        self.phases: list[str] = []
        self.messages: list[str] = []
        self.metrics: dict[str, dict[int, dict[str, float]]] = {"train": {}, "probe": {}, "general": {}, "eval": {}}
        self.epochs: dict[int, float] = {}
        self.repeated: list[tuple[str, int]] = []

    def log_event(self, text: str) -> None:
        self.messages.append(text)

    def phase(self, name: str) -> None:
        self.phases.append(name)
        self._now(name)

    def metric(self, kind: str, step: int, epoch: float, values: dict[str, float]) -> None:
        if step in self.metrics[kind]:
            self.repeated.append((kind, step))
        self.metrics[kind][step] = values
        if kind == "train":
            self.epochs[step] = epoch

    def multiplies(self, in_bf16: bool) -> None:
        self.in_bf16.append(in_bf16)

    def progress(self, step: int, total_steps: int) -> None:
        self.step = step
        self.steps.append((step, total_steps))
        self._now("progress")

    def part(self, done: int, total: int) -> None:
        assert 0 <= done < total

    def probed(self, step: int, adapter_name: str) -> None:
        assert (step, adapter_name) in ((self.step, RUN), (0, adapter.BASE))

    def evaluated(self, step: int, epoch: float) -> None:
        assert step == self.step

    def yield_to_queue(self) -> None:
        self._now("yield_to_queue")
        self.between(self.step)

    def stopping(self) -> bool:
        return self.stop

    def _now(self, moment: str) -> None:
        if moment == self.at and self.step == self.stop_after:
            self.stop = True

    def of(self, name: str, kind: str = "train") -> dict[int, float]:
        """One number of every step."""
        return {step: values[name] for step, values in self.metrics[kind].items()}

    @property
    def losses(self) -> dict[int, float]:
        return self.of("loss")


def go(
    loaded: LoadedModel,
    folder: Path,
    settings: TrainSettings = SIX_STEPS,
    watcher: Recorder | None = None,
    resume_from: Path | None = None,
    data: TrainingData | None = None,
) -> tuple[Recorder, TrainingResult]:
    """Train the adapter ``RUN``."""
    watcher = watcher or Recorder()
    data = data or some_data(loaded)
    return watcher, train(loaded, RUN, data, settings, folder, watcher, resume_from)


def again(loaded: LoadedModel, lora: LoraSettings = DROPOUT, seed: int = 1) -> LoadedModel:
    """The same model with its trained adapter replaced by a fresh one, as the lab does it."""
    adapter.remove(loaded, RUN)
    adapter.attach(loaded, RUN, lora, seed)
    return loaded


def adapter_weights(loaded: LoadedModel, name: str = RUN) -> dict[str, torch.Tensor]:
    """A copy of an adapter's matrices, by name."""
    parameters = loaded.model.named_parameters()
    return {path: p.detach().clone() for path, p in parameters if "lora_" in path and f".{name}." in path}


def same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether both hold the same names and, bit for bit, the same numbers."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def padded(rows: Sequence[TokenizedExample], pad: int) -> dict[str, torch.Tensor]:
    """A conventional batch: padded on the right, with an attention mask and labels."""
    width = max(len(row.input_ids) for row in rows)

    def fill(values: Sequence[int], filler: int) -> list[int]:
        return [*values, *[filler] * (width - len(values))]

    return {
        "input_ids": torch.tensor([fill(row.input_ids, pad) for row in rows]),
        "attention_mask": torch.tensor([fill([1] * len(row.input_ids), 0) for row in rows]),
        "labels": torch.tensor([fill(row.labels, IGNORE) for row in rows]),
    }


def held_out_by_hand(loaded: LoadedModel, rows: Sequence[TokenizedExample]) -> float:
    """Mean loss in nats a supervised token, each row alone, by the model's own logits."""
    total = count = 0.0
    loaded.model.eval()
    for row in rows:
        ids, labels = torch.tensor([row.input_ids]), torch.tensor(row.labels)
        with torch.no_grad():
            log_probabilities = loaded.model(input_ids=ids).logits[0].double().log_softmax(-1)
        for place in range(row.prompt_length, len(row.input_ids)):
            total -= log_probabilities[place - 1, labels[place]].item()
            count += 1
    return total / count


def plain_loop(loaded, rows, settings: TrainSettings):
    """The usual training loop: padded batches, the model's own loss, an optimizer, a schedule.

    Yields each step's loss and, after clipping, its gradients.
    """
    model = loaded.model.train()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rate, parameters = settings.learning_rate, list(trainable.values())
    if settings.optim == "sgd":
        optimizer = torch.optim.SGD(parameters, rate)
    else:
        optimizer = torch.optim.AdamW(parameters, rate, weight_decay=settings.weight_decay)
    size = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    epochs = int(settings.num_train_epochs)
    total, done = epochs * math.ceil(len(rows) / size), 0
    sampler = EpochSampler(len(rows), settings.seed)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        order = list(sampler)
        for start in range(0, len(order), size):
            batch = padded([rows[index] for index in order[start : start + size]], loaded.tokenizer.pad_token_id)
            loss = model(**batch).loss
            loss.backward()
            if settings.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            yield loss.item(), {name: p.grad.clone() for name, p in trainable.items()}
            warming, left = done / max(1, settings.warmup_steps), (total - done) / (total - settings.warmup_steps)
            optimizer.param_groups[0]["lr"] = rate * (warming if done < settings.warmup_steps else left)
            optimizer.step()
            optimizer.zero_grad()
            done += 1


@contextmanager
def gradients_of(loaded: LoadedModel) -> Iterator[list[dict[str, torch.Tensor]]]:
    """Record the gradients of each optimizer step inside the block, by parameter."""
    names = {id(p): name for name, p in loaded.model.named_parameters()}
    seen: list[dict[str, torch.Tensor]] = []

    def record(optimizer, *args):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        seen.append({names[id(p)]: p.grad.clone() for p in parameters})

    hook = register_optimizer_step_pre_hook(record)
    try:
        yield seen
    finally:
        hook.remove()


def train_in_a_fresh_process() -> None:
    """Print the losses of six steps as JSON, as exact hexadecimal floats; for a new interpreter."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        watcher, _ = go(tiny_with(), Path(folder))
    print(json.dumps({step: loss.hex() for step, loss in watcher.losses.items()}))
