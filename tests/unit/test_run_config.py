"""Valid configurations: the public presets, the boundary of every rule, and messages that name every problem."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruct_tune.config.filters import STEPS, Contains, Filter, Length
from instruct_tune.config.presets import PRESET_NOTES, PRESETS
from instruct_tune.config.run_config import OPTIMIZERS, SCHEDULERS, Columns, DataSettings, RunConfig
from instruct_tune.config.validation import _RULES, merge, parse_override
from instruct_tune.errors import SettingsError

# The block of the public interface, exactly.
PUBLIC_QUICK = json.loads("""
{
  "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
  "data": {"source": "bundled", "split": "train",
           "columns": {"instruction": "instruction", "input": "input", "output": "output"},
           "filters": [{"step": "without_input"}], "limit": 200, "test_size": 0.2, "seed": 42},
  "template": "lesson",
  "lora": {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": "auto"},
  "train": {"num_train_epochs": 1, "max_steps": -1, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1,
            "learning_rate": 5e-4, "lr_scheduler_type": "linear", "warmup_steps": 0, "weight_decay": 0.0,
            "max_grad_norm": 1.0, "optim": "adamw_torch", "bf16": "auto", "fp16": "auto", "max_length": 1024,
            "overlong": "drop", "logging_steps": 1, "probe_rows": 16, "probes": 6, "eval_strategy": "epoch",
            "eval_steps": null, "save_strategy": "epoch", "save_steps": null, "save_minutes": 2,
            "save_total_limit": 3, "seed": 42},
  "generation": {"max_new_tokens": 96, "num_beams": 1, "do_sample": false},
  "evaluation_rows": 40
}
""")


def nested(name: str, value: Any) -> dict[str, Any]:
    """``"train.seed", 1`` → ``{"train": {"seed": 1}}``."""
    config: dict[str, Any] = {}
    merge(config, name, value)
    return config


def flat(config: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Every field under its dotted name."""
    fields = {}
    for name, value in config.items():
        fields |= flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
    return fields


def read(name: str, value: Any) -> Any:
    """The field ``name`` of a configuration that sets it to ``value``."""
    return flat(RunConfig.from_dict(nested(name, value)).to_dict())[name]


def problems_of(values: Any, preset: str = "quick") -> list[str]:
    with pytest.raises(SettingsError) as error:
        RunConfig.from_dict(values, preset)
    assert str(error.value) == "; ".join(error.value.problems) + "."
    return error.value.problems


# Presets


def test_quick_is_the_public_block():
    quick = flat(PRESETS["quick"].to_dict())
    public = flat(PUBLIC_QUICK)
    assert {name: quick[name] for name in public} == public
    # Fields that the block omits have no effect until they are set.
    assert {name: value for name, value in quick.items() if name not in public} == {
        # Measurements during training; they change no number of it.
        "train.sample_tokens": 40,
        "train.sample_every": 3,
        "train.held_out_prompts": 3,
        "train.training_prompts": 1,
        "train.own_prompts": [],
        "train.general_loss": True,
        "train.bleu_rows": 0,
        "lora.use_rslora": False,
        "train.early_stopping_patience": None,
        "train.load_best_model_at_end": False,
        "train.recite_rows": 0,
        "generation.max_length": None,
        "generation.early_stopping": False,
        "generation.temperature": 1.0,
        "generation.top_p": 1.0,
        "generation.seed": 42,
    }
    assert RunConfig.from_dict(PUBLIC_QUICK, "lesson").train == PRESETS["quick"].train


def differences(preset: str) -> dict[str, Any]:
    quick = flat(PRESETS["quick"].to_dict())
    return {name: value for name, value in flat(PRESETS[preset].to_dict()).items() if quick[name] != value}


def test_minute_is_quick_with_48_rows_batch_4_and_2e_3():
    assert differences("minute") == {
        "data.limit": 48,
        "train.per_device_train_batch_size": 4,
        "train.learning_rate": 2e-3,
        "train.held_out_prompts": 1,
    }


def test_overfit_is_eight_rows_again_and_again():
    changed = differences("overfit")
    assert changed["data.limit"] == changed["train.recite_rows"] == 8
    assert changed["train.num_train_epochs"] >= 10
    # Dropout would prevent exact recitation, and evaluations every epoch would cost more than the training.
    assert changed["lora.lora_dropout"] == 0
    assert changed["train.eval_strategy"] == "no"


def test_lesson_is_the_lesson_to_the_letter():
    lesson = flat(PRESETS["lesson"].to_dict())
    expected = {
        "model": "facebook/opt-350m",
        "data.source": "codealpaca-20k",
        "data.filters": [{"step": "without_input"}],
        "data.test_size": 0.2,
        "data.seed": 42,
        "data.limit": None,
        "template": "lesson",
        "lora.r": 16,
        "lora.lora_alpha": 32,
        "lora.lora_dropout": 0.1,
        "lora.target_modules": "auto",  # q_proj and v_proj for OPT
        "train.num_train_epochs": 10,
        "train.max_steps": -1,
        "train.per_device_train_batch_size": 2,
        "train.gradient_accumulation_steps": 1,
        "train.learning_rate": 5e-5,
        "train.eval_strategy": "epoch",
        "train.save_strategy": "epoch",
        "train.overlong": "truncate",
        "train.bf16": "auto",
        "train.fp16": "auto",
        "train.max_length": 1024,
        "generation.max_new_tokens": None,
        "generation.max_length": 50,
        "generation.num_beams": 5,
        "generation.early_stopping": True,
        "generation.do_sample": False,
    }
    assert {name: lesson[name] for name in expected} == expected
    assert set(differences("lesson")) - set(expected) == {"evaluation_rows"}


def test_smoke_is_a_tiny_model():
    assert PRESETS["smoke"].model == "tiny-random"
    assert PRESETS["smoke"].data.source == "bundled"


def test_presets_have_notes_and_the_public_names():
    assert set(PRESETS) == set(PRESET_NOTES) == {"minute", "quick", "overfit", "lesson", "smoke"}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_round_trips_through_json(preset):
    config = PRESETS[preset]
    as_json = json.loads(json.dumps(config.to_dict()))
    for other in PRESETS:
        assert RunConfig.from_dict(as_json, other) == config
    assert RunConfig.from_dict({}, preset) == config


def test_what_is_given_is_laid_over_the_preset():
    values = {
        "data": {"columns": {"input": None}, "filters": []},
        "lora": {"target_modules": ["q_proj", "k_proj"]},
        "template": {"without_input": "{instruction}", "with_input": "{instruction}{input}"},
    }
    config = RunConfig.from_dict(values, "minute")
    assert config == replace(
        PRESETS["minute"],
        data=DataSettings(columns=Columns(input=None), filters=(), limit=48),
        lora=replace(PRESETS["minute"].lora, target_modules=("q_proj", "k_proj")),
        template={"without_input": "{instruction}", "with_input": "{instruction}{input}"},
    )
    assert RunConfig.from_dict(config.to_dict()) == config


# The boundaries of every rule

# Values accepted at the edges, values refused just beyond them, and the message.
SEEDS = ([0, 2**32 - 1], [-1, 2**32], "must be between 0 and 4,294,967,295")
STRATEGIES = (["no", "epoch"], ["", "step", "Epoch"], "must be one of no, epoch, steps")
AUTOS = ([True, False, "auto"], ["", "true", "yes"], "must be true, false or auto")
BOUNDARIES: dict[str, tuple[list, list, str]] = {
    "model": (["x"], ["", " "], "must name a model"),
    "data.source": (["x"], ["", " ", "\n"], "must name a dataset"),
    "data.limit": ([1, 10_000_000, None], [0, 10_000_001, -1], "must be between 1 and 10,000,000"),
    "data.test_size": ([1e-9, 0.999], [0, 1, 0.0, 1.0, -0.2], "must be above 0 and below 1"),
    "data.seed": SEEDS,
    "lora.r": ([1, 1024], [0, 1025], "must be between 1 and 1,024"),
    "lora.lora_alpha": ([1, 0.5, 22.6, 8192], [0, -1, 8192.5], "must be above 0 and at most 8192"),
    "lora.lora_dropout": ([0, 0.0, 0.999], [-1e-9, 1, 1.0], "must be at least 0 and below 1"),
    "lora.target_modules": (
        ["auto", "all-linear", ["q_proj"], ["self_attn.q_proj"], r".*\.(q|v)_proj"],
        ["", [], [""], ["q_proj", 1]],
        "must be auto, all-linear or a list of module names",
    ),
    "train.num_train_epochs": ([1e-3, 1000], [0, -1, 1000.5], "must be above 0 and at most 1000"),
    "train.max_steps": ([-1, 1, 10_000_000], [0, -2, 10_000_001], "must be -1 (no limit) or at least 1"),
    "train.per_device_train_batch_size": ([1, 1024], [0, 1025], "must be between 1 and 1,024"),
    "train.gradient_accumulation_steps": ([1, 1024], [0, 1025], "must be between 1 and 1,024"),
    "train.learning_rate": ([1e-12, 1], [0, -1e-4, 1.001], "must be above 0 and at most 1"),
    "train.lr_scheduler_type": (list(SCHEDULERS), ["", "Linear"], "must be one of linear, cosine, constant"),
    "train.warmup_steps": ([0, 1_000_000], [-1, 1_000_001], "must be between 0 and 1,000,000"),
    "train.weight_decay": ([0, 1], [-1e-9, 1.001], "must be between 0 and 1"),
    "train.max_grad_norm": (
        [0, 1e-4, 1000],
        [-1e-9, 1000.5, 9e-5, 1e-40],
        "must be 0 (gradients are not clipped) or between 0.0001 and 1,000",
    ),
    "train.optim": (list(OPTIMIZERS), ["", "adam"], "must be one of adamw_torch, adamw_torch_fused, sgd, adafactor"),
    "train.bf16": AUTOS,
    "train.fp16": AUTOS,
    "train.max_length": ([8, 131_072], [7, 131_073], "must be between 8 and 131,072"),
    "train.overlong": (["drop", "truncate"], ["", "cut"], "must be one of drop, truncate"),
    "train.logging_steps": ([1, 100_000], [0, 100_001], "must be between 1 and 100,000"),
    "train.probe_rows": ([0, 1000], [-1, 1001], "must be between 0 and 1,000"),
    "train.probes": ([0, 1000], [-1, 1001], "must be between 0 and 1,000"),
    "train.sample_every": ([1, 1000], [0, 1001], "must be between 1 and 1,000"),
    "train.eval_strategy": STRATEGIES,
    "train.eval_steps": ([1, 10_000_000, None], [0, 10_000_001], "must be between 1 and 10,000,000"),
    "train.save_strategy": STRATEGIES,
    "train.save_steps": ([1, 10_000_000, None], [0, 10_000_001], "must be between 1 and 10,000,000"),
    "train.save_minutes": ([0.01, 1440, None], [0, 0.009, 1440.5], "must be between 0.01 and 1,440"),
    "train.save_total_limit": ([1, 1000, None], [0, 1001], "must be between 1 and 1,000"),
    "train.sample_tokens": ([0, 1000], [-1, 1001], "must be between 0 and 1,000"),
    "train.held_out_prompts": ([0, 8], [-1, 9], "must be between 0 and 8"),
    "train.training_prompts": ([0, 8], [-1, 9], "must be between 0 and 8"),
    "train.own_prompts": ([[], ["x"], ["x" * 2000, "<b>"]], [[" "], ["x", "\n"]], "must hold texts that are not blank"),
    "train.bleu_rows": ([0, 1000], [-1, 1001], "must be between 0 and 1,000"),
    "train.recite_rows": ([0, 1000], [-1, 1001], "must be between 0 and 1,000"),
    "train.early_stopping_patience": ([1, 1000, None], [0, 1001], "must be between 1 and 1,000"),
    "train.seed": SEEDS,
    "generation.max_new_tokens": ([1, 4096], [0, 4097], "must be between 1 and 4,096"),
    "generation.max_length": ([2, 131_072, None], [1, 131_073], "must be between 2 and 131,072"),
    "generation.num_beams": ([1, 16], [0, 17], "must be between 1 and 16"),
    "generation.temperature": (
        [1e-3, 10],
        [0, -1, 10.5, 9e-4, 1e-40],
        "must be between 0.001 and 10 (set generation.do_sample to false for the likeliest token)",
    ),
    "generation.top_p": ([1e-40, 1e-3, 1], [0, -0.1, 1.001], "must be above 0 and at most 1"),
    "generation.seed": SEEDS,
    "generation.stop": (
        [["x" * 100] * 8],
        [["x"] * 9, ["x" * 101]],
        "must hold at most 8 texts of at most 100 characters",
    ),
    "evaluation_rows": ([1, 1_000_000, None], [0, 1_000_001], "must be between 1 and 1,000,000"),
}


def test_every_rule_has_its_boundaries_here():
    assert set(BOUNDARIES) == set(_RULES)


@pytest.mark.parametrize("name", BOUNDARIES)
def test_values_at_the_boundary(name):
    accepted, refused, message = BOUNDARIES[name]
    for value in accepted:
        assert read(name, value) == value
    for value in refused:
        (problem,) = problems_of(nested(name, value))
        assert problem.startswith(f"{name} {message}")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (["x", "y", "z"], "train.own_prompts holds 3 texts, and at most 2 are allowed: shorten it"),
        (["x", "y" * 2001], "train.own_prompts[1] has 2,001 characters, and at most 2,000 are allowed"),
        (["\ud83d"], "train.own_prompts[0] holds half a character"),
        ([3], "train.own_prompts must be a list of texts"),
        ("Say hello", "train.own_prompts must be a list of texts"),
    ],
)
def test_own_prompts_are_two_short_texts(value, problem):
    assert problems_of(nested("train.own_prompts", value))[0].startswith(problem)


def test_a_refused_value_is_named():
    assert problems_of(nested("lora.r", 0)) == ["lora.r must be between 1 and 1,024, not 0"]
    assert problems_of(nested("train.optim", "adam"))[0].endswith(', not "adam"')


@pytest.mark.parametrize("step", [name for name, usual in STEPS.items() if type(usual) is Filter])
def test_known_filters(step):
    config = RunConfig.from_dict(nested("data.filters", [{"step": step}, {"step": "drop_empty"}]))
    assert config.data.filters == (Filter(step), Filter("drop_empty"))


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ([{"step": "shuffle"}], "data.filters[0] has an unknown step 'shuffle': known are without_input, with_input, "),
        ([{}], "data.filters[0] has an unknown step ''"),
        ([{"step": "drop_empty", "n": 1}], "data.filters[0].n is not a setting"),
        (["drop_empty"], "data.filters[0] must be a JSON object"),
        ([{"step": ["length"]}], "data.filters[0].step must be a text"),
        ([{"step": "drop_empty"}, {"step": "length"}], "data.filters[1] needs min or max"),
        ([{"step": "length", "min": 2, "max": 1}], "data.filters[0].min must not be above max"),
        ([{"step": "length", "min": "2"}], "data.filters[0].min must be a whole number or null"),
        ([{"step": "length", "of": "title", "min": 2}], "data.filters[0].of must be one of instruction, input, output"),
        (
            [{"step": "length", "unit": "tokens", "tokenizer": " ", "min": 2}],
            "data.filters[0].tokenizer must name a model",
        ),
        ([{"step": "contains"}], "data.filters[0].text must be a text of 1 to 500 characters"),
        ([{"step": "contains", "text": "\ud83d"}], "data.filters[0].text holds half a character"),
        ([{"step": "matches"}], "data.filters[0].pattern must not be empty"),
        ([{"step": "matches", "pattern": "(" * 400}], "data.filters[0].pattern is no regular expression"),
        ([{"step": "matches", "pattern": "a" * 10**6}], "data.filters[0].pattern must have at most 500 characters"),
        ([{"step": "matches", "pattern": "a{99999999999}"}], "data.filters[0].pattern is no regular expression"),
        ([{"step": "language", "language": "klingon"}], "data.filters[0].language must be one of python, "),
        ([{"step": "drop_near_duplicates", "threshold": 0.2}], "data.filters[0].threshold must be between 0.7 and 1"),
        ([{"step": "sample"}], "data.filters[0].n must be between 1 and"),
        ([{"step": "drop_rows"}], "data.filters[0].rows must be a list of 1 to 10,000 ids"),
        ([{"step": "drop_rows", "rows": [1, 2]}], "data.filters[0].rows must be a list of texts"),
        ("drop_empty", "data.filters must be a list of steps"),
        (None, "data.filters must be a list of steps"),
    ],
)
def test_faulty_filters(filters, problem):
    assert problems_of(nested("data.filters", filters))[0].startswith(problem)


def test_all_problems_of_all_steps_are_listed():
    faulty = [{"step": "sample", "seed": -1}, {"step": "matches", "pattern": "(", "of": 3}]
    message = " ".join(problems_of(nested("data.filters", faulty)))
    assert all(
        f"data.filters[{at}].{name} " in message for at, name in ((0, "n"), (0, "seed"), (1, "pattern"), (1, "of"))
    )


def test_a_step_is_read_and_written_with_its_parameters():
    steps = [
        {"step": "without_input"},
        {"step": "contains", "of": "output", "text": "<script>\u202e🙂", "exclude": True},
    ]
    config = RunConfig.from_dict(nested("data.filters", steps))
    assert config.data.filters == (
        Filter("without_input"),
        Contains(of="output", text="<script>\u202e🙂", exclude=True),
    )
    assert config.to_dict()["data"]["filters"] == steps
    assert RunConfig.from_dict(config.to_dict()) == config
    assert len({config.data, config.data}) == 1


def test_tokens_are_counted_by_the_model_of_the_configuration_and_it_is_written_down():
    config = RunConfig.from_dict(
        {"model": "a/b", "data": {"filters": [{"step": "length", "unit": "tokens", "max": 9}]}}
    )
    assert config.data.filters == (Length(unit="tokens", tokenizer="a/b", max=9),)
    assert RunConfig.from_dict({**config.to_dict(), "model": "c/d"}).data == config.data


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"train": {"eval_strategy": "steps"}}, "train.eval_steps must be given where train.eval_strategy is steps"),
        ({"train": {"save_strategy": "steps"}}, "train.save_steps must be given where train.save_strategy is steps"),
        (
            {"train": {"early_stopping_patience": 2, "eval_strategy": "no"}},
            "train.early_stopping_patience needs evaluations: set train.eval_strategy to epoch or steps",
        ),
        (
            {"train": {"load_best_model_at_end": True, "eval_strategy": "no"}},
            "train.load_best_model_at_end needs evaluations: set train.eval_strategy to epoch or steps",
        ),
        ({"train": {"bf16": True, "fp16": True}}, "train.bf16 and train.fp16 cannot both be true"),
        ({"generation": {"max_new_tokens": None}}, "generation needs max_new_tokens or max_length"),
        (
            {"generation": {"do_sample": True, "num_beams": 2}},
            "generation.do_sample works with generation.num_beams 1 only",
        ),
    ],
)
def test_settings_that_contradict_each_other(given, problem):
    assert problems_of(given) == [problem]


@pytest.mark.parametrize(
    "given",
    [
        {"train": {"early_stopping_patience": 2, "load_best_model_at_end": True, "save_strategy": "no"}},
        {"train": {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}},
        {"train": {"bf16": True, "fp16": "auto"}},
        {"train": {"bf16": False, "fp16": True}},
        {"generation": {"max_new_tokens": None, "max_length": 50}},
        {"generation": {"do_sample": True, "num_beams": 1}},
        {"generation": {"do_sample": False, "num_beams": 2}},
    ],
)
def test_settings_that_go_together(given):
    ((section, fields),) = given.items()
    config = RunConfig.from_dict(given).to_dict()
    assert {name: config[section][name] for name in fields} == fields


# Types


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("lora.r", True, "lora.r must be a whole number, not true"),
        ("lora.r", 1.5, "lora.r must be a whole number, not 1.5"),
        ("lora.r", "16", 'lora.r must be a whole number, not "16"'),
        ("lora.r", None, "lora.r must be a whole number, not null"),
        ("lora.r", math.nan, "lora.r must be a whole number, not NaN"),
        ("lora.r", math.inf, "lora.r must be a whole number, not Infinity"),
        ("lora.r", [16], "lora.r must be a whole number, not [16]"),
        ("data.limit", False, "data.limit must be a whole number or null, not false"),
        ("evaluation_rows", True, "evaluation_rows must be a whole number or null, not true"),
        ("train.learning_rate", True, "train.learning_rate must be a number, not true"),
        ("train.learning_rate", math.nan, "train.learning_rate must be a number, not NaN"),
        ("train.learning_rate", math.inf, "train.learning_rate must be a number, not Infinity"),
        ("train.learning_rate", -math.inf, "train.learning_rate must be a number, not -Infinity"),
        ("train.learning_rate", "5e-4", 'train.learning_rate must be a number, not "5e-4"'),
        ("train.save_minutes", math.nan, "train.save_minutes must be a number or null, not NaN"),
        ("train.bf16", 1, "train.bf16 must be true or false or a text, not 1"),
        ("generation.do_sample", 1, "generation.do_sample must be true or false, not 1"),
        ("generation.do_sample", "true", 'generation.do_sample must be true or false, not "true"'),
        ("model", None, "model must be a text, not null"),
        ("model", 7, "model must be a text, not 7"),
        ("data.columns.input", 7, "data.columns.input must be a text or null, not 7"),
        ("data.columns.output", None, "data.columns.output must be a text, not null"),
        ("template", 7, "template must be a text, not 7"),
        ("template", {"with_input": 7}, "template must hold texts"),
        ("train", [], "train must be a JSON object"),
        ("train", None, "train must be a JSON object"),
        ("data.columns", "text", "data.columns must be a JSON object"),
        ("model", {"a": "b" * 99}, 'model must be a text, not {"a": "' + "b" * 50 + "..."),
    ],
)
def test_a_wrong_type_is_refused(name, value, problem):
    assert problems_of(nested(name, value)) == [problem]


def test_the_configuration_itself_must_be_an_object():
    assert problems_of([]) == ["the configuration must be a JSON object"]


def test_a_whole_number_may_be_written_with_a_point():
    assert isinstance(read("lora.r", 8.0), int)
    assert read("lora.r", 8.0) == 8


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ({"epochs": 1}, "epochs is not a setting: known here are model, data, template, lora, train, generation, "),
        ({"lora": {"rank": 1}}, "lora.rank is not a setting: known here are r, lora_alpha, lora_dropout, "),
        ({"data": {"columns": {"prompt": "x"}}}, "data.columns.prompt is not a setting: known here are instruction, "),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(given, start):
    (problem,) = problems_of(given)
    assert problem.startswith(start)


def test_every_problem_is_named_in_one_message():
    values = {
        "epochs": 3,
        "lora": {"r": 0, "lora_dropout": "high"},
        "data": {"columns": {"prompt": "x"}, "test_size": 2, "filters": [{"step": "shuffle"}]},
        "train": {"learning_rate": math.nan, "eval_strategy": "steps"},
        "generation": {"do_sample": True, "num_beams": 5},
    }
    problems = problems_of(values)
    names = [
        *("epochs", "lora.lora_dropout", "data.columns.prompt", "train.learning_rate"),
        *("data.test_size", "lora.r", "data.filters[0]", "train.eval_steps", "generation.do_sample"),
    ]
    assert [problem.split()[0] for problem in problems] == names


# Any JSON

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("auto"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
field_names = st.sampled_from([*flat(PRESETS["quick"].to_dict()), "data", "train", "data.columns", "nonsense"])


known_values = st.sampled_from(
    [*flat(PRESETS["lesson"].to_dict()).values(), *flat(PRESETS["minute"].to_dict()).values()]
)


@given(st.lists(st.tuples(field_names, known_values | json_values), max_size=4))
def test_any_json_is_read_or_refused_with_a_message(overrides):
    values: dict[str, Any] = {}
    try:
        for name, value in overrides:
            merge(values, name, value)
        config = RunConfig.from_dict(values)
    except SettingsError:
        return
    as_json = json.dumps(config.to_dict(), allow_nan=False)
    assert RunConfig.from_dict(json.loads(as_json), "lesson") == config


# Overrides


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("train.max_steps=20", "train.max_steps", 20),
        ("train.learning_rate=5e-4", "train.learning_rate", 5e-4),
        ("data.limit=null", "data.limit", None),
        ("generation.do_sample=true", "generation.do_sample", True),
        ('lora.target_modules=["q_proj"]', "lora.target_modules", ["q_proj"]),
        ("data.source=bundled", "data.source", "bundled"),
        ('data.source="007"', "data.source", "007"),
        ("data.source=a=b.csv", "data.source", "a=b.csv"),
        ("data.source=", "data.source", ""),
        (" model =gpt2", "model", "gpt2"),
        ("template=True", "template", "True"),  # Python's word, not JSON's
    ],
)
def test_an_override(text, name, value):
    assert parse_override(text) == (name, value)


@pytest.mark.parametrize("text", ["", "train.max_steps", "=20", "  =20"])
def test_an_override_that_is_none(text):
    with pytest.raises(SettingsError, match=r"--set takes SECTION\.FIELD=VALUE"):
        parse_override(text)


def test_an_override_that_is_not_finite_is_refused():
    for value in ("NaN", "Infinity", "1e999"):
        assert len(problems_of(nested(*parse_override(f"train.learning_rate={value}")))) == 1


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 100_000])
def test_an_override_that_json_cannot_hold_is_refused(value):
    with pytest.raises(SettingsError):
        RunConfig.from_dict(nested(*parse_override(f"train.seed={value}")))


def test_merge_makes_sections_and_keeps_what_is_there():
    base: dict[str, Any] = {"lora": {"r": 4}, "model": "gpt2"}
    for name, value in (("lora.lora_alpha", 8), ("data.columns.input", None), ("model", "x"), ("lora.r", 2)):
        merge(base, name, value)
    assert base == {"lora": {"r": 2, "lora_alpha": 8}, "data": {"columns": {"input": None}}, "model": "x"}


def test_merge_refuses_a_field_as_a_section():
    with pytest.raises(SettingsError, match=r"model\.name cannot be set: model is not a section"):
        merge({"model": "gpt2"}, "model.name", "x")
