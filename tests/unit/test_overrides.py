"""An override names one field and its value, and is laid over a configuration."""

from __future__ import annotations

from typing import Any

import pytest
from configurations import nested, problems_of

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.validation import merge, parse_override
from instruct_tune.errors import SettingsError


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
