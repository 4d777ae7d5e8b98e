"""The steps of the ledger as settings: which rows are kept, said in a few words that fit into JSON.

``{"step": "length", "of": "output", "max": 200}`` is a ``Length``; a step without parameters is a plain ``Filter``.
What they do is in ``filters.py``.
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
"""What a step looks at; ``row``: all three texts, one a line."""
UNITS = ("characters", "tokens")
MAX_BY_HAND, LONGEST_ROW_ID = 10_000, 100
LONGEST_MODEL = 1000
"""Characters of a model's or a dataset's name, which may be a path."""


@dataclass(frozen=True)
class Filter:
    """One step of the ledger, applied before the split (``DROP_LEAKAGE`` after it, wherever it stands)."""

    step: str


DROP_LEAKAGE = Filter("drop_leakage")
"""Leaves out the training rows that are near copies of held-out rows."""


@dataclass(frozen=True)
class Length(Filter):
    """Rows whose text has from ``min`` to ``max`` characters or tokens, both included; None: no limit.

    Tokens are those of the text alone, without the template, counted by ``tokenizer``: a model's name. Where the
    configuration has none it is the configuration's model, and is written down, so that the rows do not change
    with the model later.
    """

    step: str = "length"
    of: str = "output"
    unit: str = "characters"
    tokenizer: str | None = None
    min: int | None = None
    max: int | None = None


@dataclass(frozen=True)
class Contains(Filter):
    """Rows that hold a text, capitals aside; with ``exclude`` those that do not."""

    step: str = "contains"
    of: str = "row"
    text: str = ""
    exclude: bool = False


@dataclass(frozen=True)
class Matches(Filter):
    """Rows in which a regular expression (Python's) is found; with ``exclude`` those in which it is not."""

    step: str = "matches"
    of: str = "row"
    pattern: str = ""
    exclude: bool = False


@dataclass(frozen=True)
class Language(Filter):
    """Rows whose answer looks like ``language``: a guess. ``none``: like no language known here, as prose."""

    step: str = "language"
    language: str = "python"
    exclude: bool = False


@dataclass(frozen=True)
class NearDuplicates(Filter):
    """Leaves out each row whose question is nearly that of an earlier one that stays; see ``near.py``."""

    step: str = "drop_near_duplicates"
    threshold: float = 0.9


@dataclass(frozen=True)
class Sample(Filter):
    """``n`` rows drawn at random, in the order they had; all where there are fewer."""

    step: str = "sample"
    n: int = 0
    seed: int = 42


@dataclass(frozen=True)
class ByHand(Filter):
    """``keep_rows`` or ``drop_rows``: those of these ids, which are made of what is in a row (``filters.row_id``).

    So a choice is still right after the file was sorted or has grown. An id that is not there does nothing.
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
"""Every step by its name, with what its parameters are where nothing is said."""

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
    """What is wrong with a step, field by field; ``path`` is where it stands in the configuration."""
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
    """``steps``, where those that count tokens and do not say whose name ``model``."""
    return tuple(
        dataclasses.replace(step, tokenizer=model)
        if isinstance(step, Length) and step.unit == "tokens" and step.tokenizer is None
        else step
        for step in steps
    )


def parameters(step: Filter) -> dict[str, Any]:
    """All that a step says beside its name."""
    return {name: value for name, value in dataclasses.asdict(step).items() if name != "step"}
