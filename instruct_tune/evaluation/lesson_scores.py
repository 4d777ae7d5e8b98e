"""Why 0.4? The lesson's two printed BLEU numbers beside what this lab measured of what decides them.

What was measured lies in an asset, made by ``python -m benchmarks.why_04``; nothing here computes a score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..util.assets import asset

ASSET = asset("why_04.json")
PRINTED = (0.4, 14.7)
"""Base and tuned, as the lesson prints them: opt-350m, CodeAlpaca-20k, ten epochs, ``max_length=50``, five beams."""


def measured(asset: Path = ASSET) -> dict[str, Any]:
    """The asset: ``machine, date, model, train_rows, held_out_rows, measured``, see ``benchmarks.why_04``."""
    return json.loads(asset.read_text(encoding="utf-8"))


def by_name(told: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each setting that was measured, by its name."""
    return {one["name"]: one for one in told["measured"]}
