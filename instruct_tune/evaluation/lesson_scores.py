"""Why 0.4? The lesson's two printed BLEU numbers, and this lab's measurements of the settings that decide them.

The measurements are in an asset, which ``python -m benchmarks.why_04`` writes; this module computes no score.
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


def by_name(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The measured settings, by name."""
    return {setting["name"]: setting for setting in content["measured"]}
