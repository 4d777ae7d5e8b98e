"""The preset that a configuration is nearest to, and the name that the page gives to a run without one."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

from ..config.presets import PRESETS
from .differences import flat


def default_name(config: Mapping[str, Any]) -> str:
    """The nearest preset and the time: ``minute, 19:55``."""
    return f"{nearest_preset(config)[0]}, {time.strftime('%H:%M')}"


def nearest_preset(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The preset with the fewest changes to ``config``, and those settings by dotted name."""
    settings = flat(config)
    changed = {
        preset: {name: value for name, value in settings.items() if values.get(name) != value}
        for preset, values in _presets().items()
    }
    nearest = min(changed, key=lambda preset: len(changed[preset]))
    return nearest, changed[nearest]


@functools.cache
def _presets() -> dict[str, dict[str, Any]]:
    return {name: flat(preset.to_dict()) for name, preset in PRESETS.items()}
