"""What a run is called where people read it: ids are for storage, links and scripts."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

from ..config.presets import PRESETS
from ..store.run_store import Run
from .differences import flat


def shown_name(run: Run) -> str:
    """The run's name; of one that was given none, its nearest preset and the time of Start: ``minute, 19:55``."""
    if run.name != run.id:
        return run.name
    return f"{nearest_preset(run.config)[0]}, {time.strftime('%H:%M', time.localtime(run.created))}"


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
