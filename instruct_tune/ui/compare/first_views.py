"""What Why, Search, Effect and Many show of the best example run before anybody asks, without a model.

Recorded by ``python -m benchmarks.first_content``, which asks the same services and functions as the page.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from ...runs.examples import BEST
from ...util.assets import asset

FILE = asset("first_views.json")
RECORDED = "*Recorded with this run as it was trained; the button computes it on this machine.*"


@dataclass(frozen=True)
class FirstViews:
    """JSON values of the views, each as its panel's ``value`` takes it."""

    why: dict[str, Any]
    search: dict[str, Any]
    effect: dict[str, Any]
    many: dict[str, Any]


@functools.cache
def _recorded() -> FirstViews:
    return FirstViews(**json.loads(FILE.read_text(encoding="utf-8")))


def of_row(run_id: str | None, number: int) -> FirstViews | None:
    """The views for a held-out row of a run; None where they were not recorded. ``number`` counts from 1."""
    return _recorded() if run_id == BEST and number == 1 else None


def of_run(run_id: str | None) -> FirstViews | None:
    """The views that need no row."""
    return of_row(run_id, 1)
