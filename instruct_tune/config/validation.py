"""Validation: JSON becomes a run configuration, or one error that names every problem."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import SettingsError
from ..text.plain_text import shown, shown_name
from ..text.regex_search import fault_of
from .filters import STEPS, Filter, counted_by, problems_of
from .presets import PRESETS
from .run_config import OPTIMIZERS, OVERLONG, SCHEDULERS, STRATEGIES, Columns, RunConfig
from .text_limits import MAX_TARGETS, field_of, size_problems, text_problems
from .validators import Rule, between, one_of


def read_config(overrides: Mapping[str, Any], preset: str = "quick") -> RunConfig:
    """``preset`` with ``overrides`` applied, section by section.

    Raises SettingsError with every unknown name, wrong type and value out of range.
    """
    reader = _Reader()
    config = reader.build(RunConfig, overrides, PRESETS[preset], "")
    _raise_problems(reader.problems + _problems(config))
    # Stored, so that the rows stay the same if the model is changed later.
    filters = counted_by(config.data.filters, config.model)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, filters=filters))


def read_filters(raw: Any) -> tuple[Filter, ...]:
    """Read ``data.filters`` alone. Raises SettingsError with every problem, each step named by its index."""
    reader = _Reader()
    steps = reader.filters(raw, ())
    _raise_problems(reader.problems + _problems_of_steps(steps))
    return steps


def _raise_problems(problems: list[str]) -> None:
    """Raise SettingsError if there are problems, without repeats; beyond ``MAX_PROBLEMS`` they are only counted."""
    problems = list(dict.fromkeys(problems))
    if len(problems) > MAX_PROBLEMS:
        problems = [*problems[:MAX_PROBLEMS], f"and {len(problems) - MAX_PROBLEMS:,} more problems"]
    if problems:
        raise SettingsError(problems)


def parse_override(text: str) -> tuple[str, Any]:
    """``"train.max_steps=20"`` → ``("train.max_steps", 20)``; a value that is not JSON is a string.

    Raises SettingsError if there is no name or no ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingsError([f"--set takes SECTION.FIELD=VALUE, not {text[:60]!r}"])
    try:
        return name.strip(), json.loads(value)
    except (ValueError, RecursionError):
        # Not JSON, or more digits or brackets than Python reads; the field's own check reports it.
        return name.strip(), value


def merge(base: dict[str, Any], name: str, value: Any) -> None:
    """Set ``value`` at the dotted ``name`` in ``base``, creating sections as needed. Raises SettingsError."""
    *sections, last = name.split(".")
    for section in sections:
        base = base.setdefault(section, {})
        if not isinstance(base, dict):
            raise SettingsError([f"{shown_name(name)} cannot be set: {shown_name(section)} is not a section"])
    base[last] = value


MAX_STOPS, LONGEST_STOP = 8, 100
LEAST_TEMPERATURE = 0.001
"""Logits are divided by it in float32; far below it they overflow. At this value sampling is already greedy."""
LEAST_GRAD_NORM = 0.0001
"""Gradients clipped far below it vanish against AdamW's epsilon (1e-8), and the adapter does not change."""
MAX_FILTERS = 100
MAX_PROMPTS = 8
"""Most held-out rows, and most training rows, that are answered at a probe."""
MAX_PROBLEMS = 20
"""Maximum problems named in one message."""

_AUTO = (lambda value: value in (True, False, "auto"), "must be true, false or auto")
_RULES: dict[str, Rule] = {
    "model": (lambda value: bool(value.strip()) and value.isprintable(), "must name a model"),
    "data.source": (lambda value: bool(value.strip()) and value.isprintable(), "must name a dataset"),
    "data.limit": between(1, 10_000_000),
    "data.test_size": (lambda value: 0 < value < 1, "must be above 0 and below 1"),
    "data.seed": between(0, 2**32 - 1),
    "lora.r": between(1, 1024),
    "lora.lora_alpha": (lambda value: 0 < value <= 8192, "must be above 0 and at most 8192"),
    "lora.lora_dropout": (lambda value: 0 <= value < 1, "must be at least 0 and below 1"),
    "lora.target_modules": (
        lambda value: 0 < len(value) <= MAX_TARGETS,
        "must be auto, all-linear or a list of module names",
    ),
    "train.num_train_epochs": (lambda value: 0 < value <= 1000, "must be above 0 and at most 1000"),
    "train.max_steps": (lambda value: value == -1 or 1 <= value <= 10_000_000, "must be -1 (no limit) or at least 1"),
    "train.per_device_train_batch_size": between(1, 1024),
    "train.gradient_accumulation_steps": between(1, 1024),
    "train.learning_rate": (lambda value: 0 < value <= 1, "must be above 0 and at most 1"),
    "train.lr_scheduler_type": one_of(*SCHEDULERS),
    "train.warmup_steps": between(0, 1_000_000),
    "train.weight_decay": between(0, 1),
    "train.max_grad_norm": (
        lambda value: value == 0 or LEAST_GRAD_NORM <= value <= 1000,
        f"must be 0 (gradients are not clipped) or between {LEAST_GRAD_NORM} and 1,000",
    ),
    "train.optim": one_of(*OPTIMIZERS),
    "train.bf16": _AUTO,
    "train.fp16": _AUTO,
    "train.max_length": between(8, 131_072),
    "train.overlong": one_of(*OVERLONG),
    "train.logging_steps": between(1, 100_000),
    "train.probe_rows": between(0, 1000),
    "train.probes": between(0, 1000),
    "train.sample_every": between(1, 1000),
    "train.sample_tokens": between(0, 1000),
    "train.held_out_prompts": between(0, MAX_PROMPTS),
    "train.training_prompts": between(0, MAX_PROMPTS),
    "train.own_prompts": (lambda value: all(text.strip() for text in value), "must hold texts that are not blank"),
    "train.bleu_rows": between(0, 1000),
    "train.eval_strategy": one_of(*STRATEGIES),
    "train.eval_steps": between(1, 10_000_000),
    "train.save_strategy": one_of(*STRATEGIES),
    "train.save_steps": between(1, 10_000_000),
    "train.save_minutes": between(0.01, 1440),
    "train.save_total_limit": between(1, 1000),
    "train.recite_rows": between(0, 1000),
    "train.early_stopping_patience": between(1, 1000),
    "train.seed": between(0, 2**32 - 1),
    "generation.max_new_tokens": between(1, 4096),
    "generation.max_length": between(2, 131_072),
    "generation.num_beams": between(1, 16),
    "generation.temperature": (
        lambda value: LEAST_TEMPERATURE <= value <= 10,
        f"must be between {LEAST_TEMPERATURE} and 10 (set generation.do_sample to false for the likeliest token)",
    ),
    "generation.top_p": (lambda value: 0 < value <= 1, "must be above 0 and at most 1"),
    "generation.seed": between(0, 2**32 - 1),
    "generation.stop": (
        lambda value: len(value) <= MAX_STOPS and all(len(text) <= LONGEST_STOP for text in value),
        f"must hold at most {MAX_STOPS} texts of at most {LONGEST_STOP} characters",
    ),
    "evaluation_rows": between(1, 1_000_000),
}


def _problems(config: RunConfig) -> list[str]:
    """Values out of range, and fields that conflict."""
    fields = dataclasses.asdict(config)
    problems = text_problems(fields)
    too_long = {problem.split()[0].partition("[")[0] for problem in problems}
    for name, (accepts, message) in _RULES.items():
        value = field_of(fields, name)
        if value is not None and name not in too_long and not accepts(value):
            problems.append(f"{name} {message}, not {shown(value)}")
    problems += _problems_of_steps(config.data.filters)
    problems += _duplicate_columns(config.data.columns)
    targets = config.lora.target_modules
    if isinstance(targets, str) and targets and (fault := fault_of(targets)):
        problems.append(f"lora.target_modules {fault}")
    for strategy, steps in (("eval_strategy", "eval_steps"), ("save_strategy", "save_steps")):
        if getattr(config.train, strategy) == "steps" and getattr(config.train, steps) is None:
            problems.append(f"train.{steps} must be given where train.{strategy} is steps")
    need_evaluations = {
        "early_stopping_patience": config.train.early_stopping_patience is not None,
        "load_best_model_at_end": config.train.load_best_model_at_end,
        "bleu_rows": config.train.bleu_rows > 0,
    }
    for name, is_set in need_evaluations.items():
        if is_set and config.train.eval_strategy == "no":
            problems.append(f"train.{name} needs evaluations: set train.eval_strategy to epoch or steps")
    if config.train.bf16 is True and config.train.fp16 is True:
        problems.append("train.bf16 and train.fp16 cannot both be true")
    if config.generation.max_new_tokens is None and config.generation.max_length is None:
        problems.append("generation needs max_new_tokens or max_length")
    if config.generation.do_sample and config.generation.num_beams > 1:
        problems.append("generation.do_sample works with generation.num_beams 1 only")
    return problems or size_problems(fields)


def _problems_of_steps(steps: tuple[Filter, ...]) -> list[str]:
    return [problem for at, step in enumerate(steps) for problem in problems_of(step, f"data.filters[{at}]")]


def _duplicate_columns(columns: Columns) -> list[str]:
    by_name: dict[str, list[str]] = {}
    for part in ("instruction", "input", "output", "system"):
        if (name := getattr(columns, part)) is not None:
            by_name.setdefault(name, []).append(f"data.columns.{part}")
    for name in dict.fromkeys(columns.ignore):
        by_name.setdefault(name, []).append("data.columns.ignore")
    return [
        f"{' and '.join(fields[:4])} both name {name[:60]!r}: a column can be only one of them"
        + (", set data.columns.input to null where there is none" if "data.columns.input" in fields else "")
        for name, fields in by_name.items()
        if len(fields) > 1
    ]


@dataclass
class _Reader:
    """Builds the dataclasses from JSON and collects every unknown name and wrong type."""

    problems: list[str] = field(default_factory=list)

    def build(self, kind: type, raw: Any, default: Any, path: str) -> Any:
        if not isinstance(raw, Mapping):
            self.problems.append(f"{path.rstrip('.') or 'the configuration'} must be a JSON object")
            return default
        fields = {f.name: f for f in dataclasses.fields(kind)}
        for name in raw:
            if name not in fields:
                self.problems.append(f"{path}{shown_name(name)} is not a setting: known here are {', '.join(fields)}")
        settings = {name: value for name, value in raw.items() if name in fields}
        read = {n: self.value(f"{path}{n}", fields[n].type, v, getattr(default, n)) for n, v in settings.items()}
        return dataclasses.replace(default, **read)

    def value(self, path: str, kind: Any, raw: Any, default: Any) -> Any:
        if dataclasses.is_dataclass(default):
            return self.build(type(default), raw, default, path + ".")
        if path == "data.filters":
            return self.filters(raw, default)
        if path == "template" and isinstance(raw, Mapping):
            return self.texts(path, raw, default)
        if path == "lora.target_modules" and isinstance(raw, (list, tuple)):
            return self.names(path, raw, default, "auto, all-linear or a list of module names")
        if path in ("generation.stop", "data.columns.ignore", "train.own_prompts") and raw in ([], ()):
            return ()
        if kind == "tuple[str, ...]":
            return self.names(path, raw, default, "a list of texts")
        kinds = [part.strip() for part in str(kind).split("|")]
        if raw is None and "None" in kinds:
            return None
        if isinstance(raw, bool):
            if "bool" in kinds:
                return raw
        elif (isinstance(raw, int) and "int" in kinds) or (isinstance(raw, str) and "str" in kinds):
            return raw
        elif isinstance(raw, (int, float)):
            if "float" in kinds and abs(raw) < float("inf"):
                return raw
            if "int" in kinds and float(raw).is_integer():
                return int(raw)
        words = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false", "None": "null"}
        allowed = " or ".join(words[part] for part in kinds if part in words)
        self.problems.append(f"{path} must be {allowed}, not {shown(raw)}")
        return default

    def filters(self, raw: Any, default: Any) -> Any:
        if not isinstance(raw, (list, tuple)):
            self.problems.append("data.filters must be a list of steps")
            return default
        if len(raw) > MAX_FILTERS:
            self.problems.append(
                f"data.filters holds {len(raw):,} steps, and at most {MAX_FILTERS} are allowed: remove some"
            )
            return default
        return tuple(self.filter(f"data.filters[{number}]", step) for number, step in enumerate(raw))

    def filter(self, path: str, raw: Any) -> Filter:
        name = raw.get("step") if isinstance(raw, Mapping) else None
        usual = STEPS.get(name, Filter("")) if isinstance(name, str) else Filter("")
        return self.build(type(usual), raw, usual, path + ".")

    def texts(self, path: str, raw: Mapping[str, Any], default: Any) -> Any:
        if all(isinstance(value, str) for value in raw.values()):
            return dict(raw)
        self.problems.append(f"{path} must hold texts")
        return default

    def names(self, path: str, raw: Any, default: Any, expected: str) -> Any:
        if isinstance(raw, (list, tuple)) and raw and all(isinstance(name, str) and name for name in raw):
            return tuple(raw)
        self.problems.append(f"{path} must be {expected}")
        return default
