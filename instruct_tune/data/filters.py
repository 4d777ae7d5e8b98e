"""Apply the filter steps of a ledger: from three text columns and a step to the indices of the rows to keep."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..config.filters import ByHand, Contains, Filter, Language, Length, Matches, NearDuplicates, Sample
from ..errors import DataError
from ..pretrained.token_counts import count_tokens_of
from ..text.code_language import guess
from ..text.regex_search import matching
from ..util.hashing import sha256_of_json
from .near_duplicates import near_pairs

MAX_COMPARED = 200_000
"""The most rows that a search for near duplicates compares."""


@dataclass(frozen=True)
class Texts:
    """Three columns of equal length."""

    instruction: Sequence[str]
    input: Sequence[str]
    output: Sequence[str]

    def __len__(self) -> int:
        return len(self.instruction)

    def of(self, part: str) -> Sequence[str]:
        """Return the column named ``part``; ``row`` joins all three with newlines."""
        if part == "row":
            return ["\n".join(texts) for texts in self.rows()]
        return {"instruction": self.instruction, "input": self.input, "output": self.output}[part]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (instruction, input, output) for each row."""
        return list(zip(self.instruction, self.input, self.output, strict=True))

    def take(self, places: Sequence[int]) -> Texts:
        """Return the rows at the indices ``places``."""
        return Texts(*([column[place] for place in places] for column in (self.instruction, self.input, self.output)))


def row_id(instruction: str, input: str, output: str) -> str:
    """Return a row's id for ``keep_rows`` and ``drop_rows``: 16 hex digits that depend on its texts only."""
    return sha256_of_json([instruction, input, output])[:16]


TokenCounter = Callable[[str, Sequence[str]], list[int]]
"""(model, texts) → number of tokens of each text in that model's tokenizer."""


def kept_by(step: Filter, texts: Texts, count_tokens: TokenCounter = count_tokens_of) -> list[int]:
    """Return the indices, ascending, of the rows that ``step`` keeps. Raises DataError if it cannot be applied."""
    keeps = _length(step, texts, count_tokens) if isinstance(step, Length) else _KEEPS[step.step](step, texts)
    return [place for place, keep in enumerate(keeps) if keep]


def _length(step: Length, texts: Texts, count_tokens: TokenCounter) -> list[bool]:
    column = texts.of(step.of)
    lengths = count_tokens(step.tokenizer or "", column) if step.unit == "tokens" else [len(text) for text in column]
    low, high = step.min or 0, float("inf") if step.max is None else step.max
    return [low <= length <= high for length in lengths]


def _contains(step: Contains, texts: Texts) -> list[bool]:
    needle = step.text.casefold()
    return [(needle in text.casefold()) != step.exclude for text in texts.of(step.of)]


def _matches(step: Matches, texts: Texts) -> list[bool]:
    matches = matching(step.pattern, texts.of(step.of))
    return [(place in matches) != step.exclude for place in range(len(texts))]


def _language(step: Language, texts: Texts) -> list[bool]:
    return [((guess(text) or "none") == step.language) != step.exclude for text in texts.output]


def _first_occurrences(texts: Texts) -> list[bool]:
    first: dict[tuple[str, str, str], int] = {}
    return [first.setdefault(row, place) == place for place, row in enumerate(texts.rows())]


def _drop_near_duplicates(step: NearDuplicates, texts: Texts) -> list[bool]:
    check_comparable(len(texts), step.step)
    questions = [
        f"{instruction}\n{input}" if input else instruction
        for instruction, input in zip(texts.instruction, texts.input, strict=True)
    ]
    keeps = [True] * len(texts)
    # Pairs are sorted by their first row, so it is already decided whether that row is kept.
    for pair in near_pairs(questions, step.threshold):
        # Exact copies are paired with the first one only, and are dropped with it.
        if keeps[pair.first] or pair.similarity == 1:
            keeps[pair.second] = False
    return keeps


def check_comparable(rows: int, step: str) -> None:
    """Raise DataError if there are too many rows to compare with each other."""
    if rows > MAX_COMPARED:
        raise DataError(
            f"{step} compares at most {MAX_COMPARED:,} rows, and there are {rows:,}: put a sample step before it, "
            "or remove it from data.filters."
        )


def _sample(step: Sample, texts: Texts) -> list[bool]:
    drawn = set(random.Random(step.seed).sample(range(len(texts)), min(step.n, len(texts))))
    return [place in drawn for place in range(len(texts))]


def _listed_rows(step: ByHand, texts: Texts) -> list[bool]:
    ids, keep = set(step.rows), step.step == "keep_rows"
    return [(row_id(*row) in ids) == keep for row in texts.rows()]


_KEEPS: dict[str, Callable[[Any, Texts], Sequence[bool]]] = {
    "without_input": lambda step, texts: [not text.strip() for text in texts.input],
    "with_input": lambda step, texts: [bool(text.strip()) for text in texts.input],
    "drop_empty": lambda step, texts: [
        bool(instruction.strip() and output.strip()) for instruction, _, output in texts.rows()
    ],
    "contains": _contains,
    "matches": _matches,
    "language": _language,
    "drop_exact_duplicates": lambda step, texts: _first_occurrences(texts),
    "drop_near_duplicates": _drop_near_duplicates,
    "sample": _sample,
    "keep_rows": _listed_rows,
    "drop_rows": _listed_rows,
}
"""Per step, a function that returns whether each row is kept. ``drop_leakage`` runs after the split, which it needs."""
