"""Settings of the filter steps, which select rows; together they are the dataset's ledger.

``{"step": "length", "of": "output", "max": 200}`` in JSON is a ``Length``; a step without parameters is a plain
``Filter``. ``data/filters.py`` applies them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..text.code_language import NAMES as LANGUAGES
from ..text.plain_text import HALF_A_CHARACTER, is_encodable, list_fault, text_fault
from ..text.regex_search import LONGEST_PATTERN, fault_of
from .validators import Rule, between, one_of

PARTS = ("instruction", "input", "output", "row")
"""The text a step examines; ``row``: all three texts, one per line."""
UNITS = ("characters", "tokens")
MAX_BY_HAND, LONGEST_ROW_ID = 10_000, 100
LONGEST_MODEL = 1000
"""Maximum characters of a model or dataset name, which may be a path."""


@dataclass(frozen=True)
class Filter:
    """One filter step, applied before the split; ``DROP_LEAKAGE`` is applied after it, at any position in the list."""

    step: str


DROP_LEAKAGE = Filter("drop_leakage")
"""Drop training rows that are near copies of held-out rows."""


@dataclass(frozen=True)
class Length(Filter):
    """Keep rows whose text has ``min`` to ``max`` characters or tokens, both inclusive; None: no limit.

    Tokens are counted on the text alone, without the template. ``tokenizer`` is the name of a model. If None, it is set
    to the configuration's model and stored, so that the rows do not change with the model later.
    """

    step: str = "length"
    of: str = "output"
    unit: str = "characters"
    tokenizer: str | None = None
    min: int | None = None
    max: int | None = None


@dataclass(frozen=True)
class Contains(Filter):
    """Keep rows that contain a text, ignoring case; with ``exclude``, rows that do not."""

    step: str = "contains"
    of: str = "row"
    text: str = ""
    exclude: bool = False


@dataclass(frozen=True)
class Matches(Filter):
    """Keep rows that match a Python regular expression anywhere; with ``exclude``, rows that do not."""

    step: str = "matches"
    of: str = "row"
    pattern: str = ""
    exclude: bool = False


@dataclass(frozen=True)
class Language(Filter):
    """Keep rows whose answer is guessed to be in ``language``. ``none``: in no known language, such as prose."""

    step: str = "language"
    language: str = "python"
    exclude: bool = False


@dataclass(frozen=True)
class NearDuplicates(Filter):
    """Drop each row whose question nearly repeats, with the same numbers, that of an earlier kept row; see
    ``data/near_duplicates.py``."""

    step: str = "drop_near_duplicates"
    threshold: float = 0.9


@dataclass(frozen=True)
class Sample(Filter):
    """Keep ``n`` random rows in their original order; all rows if there are fewer."""

    step: str = "sample"
    n: int = 0
    seed: int = 42


@dataclass(frozen=True)
class ByHand(Filter):
    """Keep (``keep_rows``) or drop (``drop_rows``) the rows with these ids.

    An id is a hash of the row's content (``data.filters.row_id``), so it stays valid after the file is sorted or grows.
    Unknown ids are ignored.
    """

    rows: tuple[str, ...] = ()


STEPS: dict[str, Filter] = {
    each.step: each
    for each in (
        *(Filter(name) for name in ("without_input", "with_input", "drop_empty")),
        Length(),
        Contains(),
        Matches(),
        Language(),
        Filter("drop_exact_duplicates"),
        NearDuplicates(),
        Sample(),
        ByHand("keep_rows"),
        ByHand("drop_rows"),
        DROP_LEAKAGE,
    )
}
"""Every step by name, with its default parameters."""

_RULES: dict[str, Rule] = {
    "of": one_of(*PARTS),
    "unit": one_of(*UNITS),
    "tokenizer": (lambda value: bool(value.strip()) and value.isprintable(), "must name a model"),
    "min": between(0, 1_000_000_000),
    "max": between(0, 1_000_000_000),
    "text": (lambda value: 0 < len(value) <= LONGEST_PATTERN, f"must be a text of 1 to {LONGEST_PATTERN} characters"),
    "language": one_of(*LANGUAGES, "none"),
    "threshold": between(0.7, 1),
    "n": between(1, 10_000_000),
    "seed": between(0, 2**32 - 1),
    "rows": (lambda value: 0 < len(value) <= MAX_BY_HAND, f"must be a list of 1 to {MAX_BY_HAND:,} ids of rows"),
}


def problems_of(step: Filter, path: str) -> Iterator[str]:
    """The problems of a step, field by field; ``path`` is its position in the configuration."""
    if step.step not in STEPS:
        yield f"{path} has an unknown step {step.step[:40]!r}: known are {', '.join(STEPS)}"
        return
    for name, value in parameters(step).items():
        if isinstance(value, str) and not is_encodable(value):
            yield f"{path}.{name} {HALF_A_CHARACTER}"
        elif name == "tokenizer" and value is not None and (fault := text_fault(value, LONGEST_MODEL)):
            yield f"{path}.{name} {fault}"
        elif name == "rows" and (fault := list_fault(value, MAX_BY_HAND, LONGEST_ROW_ID)):
            yield f"{path}.{name}{fault}"
        elif name == "pattern":
            if fault := fault_of(value):
                yield f"{path}.pattern {fault}"
        elif value is not None and name in _RULES and not _RULES[name][0](value):
            yield f"{path}.{name} {_RULES[name][1]}"
    if isinstance(step, Length):
        if step.min is None and step.max is None:
            yield f"{path} needs min or max"
        elif step.min is not None and step.max is not None and step.min > step.max:
            yield f"{path}.min must not be above max"


def counted_by(steps: Iterable[Filter], model: str) -> tuple[Filter, ...]:
    """``steps`` with ``model`` as the tokenizer of those that count tokens and name none."""
    return tuple(
        dataclasses.replace(step, tokenizer=model)
        if isinstance(step, Length) and step.unit == "tokens" and step.tokenizer is None
        else step
        for step in steps
    )


def parameters(step: Filter) -> dict[str, Any]:
    """All fields of a step except its name."""
    return {name: value for name, value in dataclasses.asdict(step).items() if name != "step"}
