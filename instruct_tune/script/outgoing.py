"""Removes this machine's folders from a configuration that becomes a script."""

from __future__ import annotations

import dataclasses
import os

from ..config.filters import Filter, Length
from ..config.run_config import RunConfig
from ..runs.machine_paths import is_path, last_name, source_to_share


def outgoing(config: RunConfig) -> RunConfig:
    """``config`` with the last name alone of a local model or data file; a script reads them from its own folder."""
    data = dataclasses.replace(
        config.data,
        source=source_to_share(config.data.source),
        filters=tuple(_filter(step) for step in config.data.filters),
    )
    return dataclasses.replace(config, model=_model(config.model), data=data)


def _filter(step: Filter) -> Filter:
    if isinstance(step, Length) and step.tokenizer:
        return dataclasses.replace(step, tokenizer=_model(step.tokenizer))
    return step


def _model(name: str) -> str:
    return last_name(name) if is_path(name) or os.path.isdir(os.path.expanduser(name)) else name
