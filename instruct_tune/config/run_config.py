"""Run configuration: frozen dataclasses that mirror the public configuration JSON.

Field names are the libraries' argument names (``r``, ``per_device_train_batch_size``), so no translation table exists.
``validation`` reads them from JSON, ``presets`` names starting points.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .filters import Filter

CHAT_BASELINE, EXAMPLES_BASELINE, NEAREST_BASELINE = BASELINES = ("chat", "examples", "nearest")
"""Baselines that can answer besides base and tuned, see ``evaluation.baselines``."""

HELD_OUT, TRAINING, OWN = PROMPT_KINDS = ("held-out", "training", "own")
"""Kinds of a run's fixed prompts: a held-out row, a row that the run trains on, a prompt that a person typed."""

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "adafactor")
STRATEGIES = ("no", "epoch", "steps")
OVERLONG = ("drop", "truncate")


@dataclass(frozen=True)
class Columns:
    """The source columns that hold the three texts; ``input`` may be None.

    ``system``: a column whose text is put before the instruction. ``ignore``: columns (or fields of a message) that
    affect a row's meaning and are left out on purpose.
    """

    instruction: str = "instruction"
    input: str | None = "input"
    output: str = "output"
    system: str | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSettings:
    source: str = "bundled"
    split: str = "train"
    columns: Columns = Columns()
    filters: tuple[Filter, ...] = (Filter("without_input"),)
    limit: int | None = 200
    test_size: float = 0.2
    seed: int = 42
    unify_newlines: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON. Settings added later are left out if they have their default.

        So the result equals that of a configuration written before they existed.
        """
        fields = json.loads(json.dumps(dataclasses.asdict(self)))
        for section, name, default in (
            (fields["columns"], "system", None),
            (fields["columns"], "ignore", []),
            (fields, "unify_newlines", False),
        ):
            if section[name] == default:
                del section[name]
        return fields


@dataclass(frozen=True)
class LoraSettings:
    """A LoRA adapter. The update is scaled by ``lora_alpha`` / r, or with ``use_rslora`` by ``lora_alpha`` / sqrt(r).

    ``target_modules``: ``auto``, ``all-linear``, a list of module names or path suffixes, or a regular expression
    for whole module paths, as in PEFT.
    """

    r: int = 16
    lora_alpha: float = 32
    lora_dropout: float = 0.1
    target_modules: str | tuple[str, ...] = "auto"
    use_rslora: bool = False


@dataclass(frozen=True)
class TrainSettings:
    """How a run trains, and what it measures meanwhile.

    At every ``sample_every``-th of the ``probes``, the first and the last always, ``held_out_prompts`` held-out rows,
    ``training_prompts`` training rows and ``own_prompts`` are answered in one batch; an answer has at most
    ``sample_tokens`` tokens (0: none is answered). ``general_loss``: at the same probes, the loss on plain text that is
    no instruction data. ``bleu_rows``: at each evaluation, BLEU of so many held-out rows, the first ones (0: none).
    """

    num_train_epochs: float = 1
    max_steps: int = -1
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    learning_rate: float = 5e-4
    lr_scheduler_type: str = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    optim: str = "adamw_torch"
    bf16: bool | str = "auto"
    fp16: bool | str = "auto"
    max_length: int = 1024
    overlong: str = "drop"
    logging_steps: int = 1
    probe_rows: int = 16
    probes: int = 6
    sample_tokens: int = 40
    sample_every: int = 3
    held_out_prompts: int = 3
    training_prompts: int = 1
    own_prompts: tuple[str, ...] = ()
    general_loss: bool = True
    bleu_rows: int = 0
    eval_strategy: str = "epoch"
    eval_steps: int | None = None
    save_strategy: str = "epoch"
    save_steps: int | None = None
    save_minutes: float | None = 2
    save_total_limit: int | None = 3
    early_stopping_patience: int | None = None
    load_best_model_at_end: bool = False
    recite_rows: int = 0
    seed: int = 42

    @property
    def bf16_weights(self) -> bool | str:
        """Whether the base weights are bfloat16: true, false, or auto (depends on the device).

        False with fp16, because autocast to float16 expects float32 weights.
        """
        return False if self.bf16 == "auto" and self.fp16 is True else self.bf16


@dataclass(frozen=True)
class GenerationSettings:
    """How answers are decoded.

    Exactly one limit applies: ``max_length`` (tokens of prompt and answer together, as in the lesson) if set, else
    ``max_new_tokens``. ``early_stopping`` applies to beam search only; ``temperature``, ``top_p`` and ``seed`` to
    sampling only. An answer is cut before the first occurrence of any text in ``stop``.
    """

    max_new_tokens: int | None = 96
    max_length: int | None = None
    num_beams: int = 1
    early_stopping: bool = False
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 42
    stop: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON, without an empty ``stop``, so that they equal those written before ``stop`` existed."""
        fields = dataclasses.asdict(self)
        del fields["stop"]
        return fields | ({"stop": list(self.stop)} if self.stop else {})


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run's result. ``template`` is a built-in name or prompt texts."""

    model: str = DEFAULT_MODEL
    data: DataSettings = DataSettings()
    template: str | Mapping[str, str] = "lesson"
    lora: LoraSettings = LoraSettings()
    train: TrainSettings = TrainSettings()
    generation: GenerationSettings = GenerationSettings()
    evaluation_rows: int | None = 40

    def to_dict(self) -> dict[str, Any]:
        """The configuration as its public JSON."""
        sections = {"data": self.data.to_dict(), "generation": self.generation.to_dict()}
        return json.loads(json.dumps({**dataclasses.asdict(self), **sections}))

    @staticmethod
    def from_dict(overrides: Mapping[str, Any], preset: str = "quick") -> RunConfig:
        """``preset`` with ``overrides`` applied, section by section.

        Raises SettingsError with every unknown name, wrong type and value out of range.
        """
        # Validation builds these classes, so it imports this module.
        from .validation import read_config

        return read_config(overrides, preset)
