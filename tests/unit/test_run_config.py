"""Valid configurations: the boundary of every rule, and messages that name every problem."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from configurations import flat, nested, problems_of, read
from hypothesis import given
from hypothesis import strategies as st

from instruct_tune.config.filters import STEPS, Contains, Filter, Length
from instruct_tune.config.presets import PRESETS
from instruct_tune.config.run_config import OPTIMIZERS, SCHEDULERS, RunConfig
from instruct_tune.config.validation import _RULES, merge
from instruct_tune.errors import SettingsError

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
