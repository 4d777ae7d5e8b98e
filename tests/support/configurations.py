"""Configurations with one field set, their fields by dotted name, and the problems for which one is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.validation import merge
from instruct_tune.errors import SettingsError


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


def problems_in(reader: Callable[..., Any], *values: Any) -> list[str]:
    """The problems for which ``reader`` refuses ``values``."""
    with pytest.raises(SettingsError) as error:
        reader(*values)
    assert str(error.value) == "; ".join(error.value.problems) + "."
    return error.value.problems


def problems_of(values: Any, preset: str = "quick") -> list[str]:
    return problems_in(RunConfig.from_dict, values, preset)
