"""The first page of rows and the first row's tokens, recorded for the settings that a new page has.

A page can show them at once: computing them needs libraries that take seconds to import. Written by
``python -m benchmarks.first_content``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.presets import PRESETS
from ..config.run_config import RunConfig
from ..data.paging import RowsPage
from ..data.splits import Example
from ..util.assets import asset
from .token_view import Role, Token, TokenView

PRESET_NAMES = ("minute", "quick")
"""The presets that a new page may begin with."""
ROWS = 25
"""Rows of the recorded page."""
FILE = asset("first_content.json")


@dataclass(frozen=True)
class FirstContent:
    """The views of one preset's data.

    ``summary``: as ``services.datasets.Datasets.summary`` returns it. ``rows``: the first ``ROWS`` training rows.
    ``tokens``: training row 1 in the tokens of the preset's model and template.
    """

    summary: Mapping[str, Any]
    rows: RowsPage
    tokens: TokenView

    def to_dict(self) -> dict[str, Any]:
        """The views as JSON; ``from_dict`` reads it."""
        tokens = [list(dataclasses.astuple(token)) for token in self.tokens.tokens]
        return {
            "summary": dict(self.summary),
            "rows": dataclasses.asdict(self.rows),
            "tokens": {"tokens": tokens, "explanation": self.tokens.explanation},
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> FirstContent:
        """The views of ``to_dict``'s JSON."""
        rows = tuple((number, Example(**row)) for number, row in fields["rows"]["rows"])
        tokens = (
            Token(number, text, spelling, Role(role), loss)
            for number, text, spelling, role, loss in fields["tokens"]["tokens"]
        )
        return cls(
            fields["summary"],
            RowsPage(**{**fields["rows"], "rows": rows}),
            TokenView(tuple(tokens), fields["tokens"]["explanation"]),
        )


@functools.cache
def first_content(preset: str) -> FirstContent:
    """The recorded views of a preset of ``PRESET_NAMES``."""
    return FirstContent.from_dict(json.loads(FILE.read_text(encoding="utf-8"))[preset])


def recorded_rows(config: RunConfig) -> FirstContent | None:
    """The views whose summary and rows are those of ``config``; None where none were recorded."""
    names = (name for name in PRESET_NAMES if PRESETS[name].data == config.data)
    return next(map(first_content, names), None)


def recorded_tokens(config: RunConfig) -> TokenView | None:
    """Training row 1 as ``config`` encodes it; None where that was not recorded."""
    # The limit cuts the training rows after the first.
    names = (name for name in PRESET_NAMES if _of_row_1(PRESETS[name]) == _of_row_1(config))
    return next((first_content(name).tokens for name in names), None)


def _of_row_1(config: RunConfig) -> tuple[Any, ...]:
    data = dataclasses.replace(config.data, limit=None)
    return config.model, data, config.template, config.train.max_length, config.train.overlong
