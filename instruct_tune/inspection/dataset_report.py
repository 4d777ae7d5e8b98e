"""Report on a split dataset before training: lengths, gaps, duplicates, leakage.

Most failed fine-tunings fail because of the data. Rows are identified by their index in their part, from 0, as in
``services.datasets`` (``training_row``, ``held_out_row``).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data.leakage import find_leakage
from ..data.near_duplicates import THRESHOLD, NearPair, near_pairs
from ..data.splits import Example
from ..tokenization.continuation import count_continuation_tokens
from ..tokenization.encode import count_prompt_tokens
from ..tokenization.prompt_template import PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BINS = 24
MAX_PAIRS = 500
"""The most pairs that are listed; the counts include all."""
MAX_ROWS = 50_000
"""The most rows of each part that are examined: the first ones, which are a random sample after the shuffle."""


@dataclass(frozen=True)
class Lengths:
    """Distribution of a text's length over rows. ``counts[i]`` rows have ``edges[i]`` <= length < ``edges[i + 1]``."""

    mean: float
    median: int
    p95: int
    max: int
    edges: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Leak:
    """A held-out row with a near copy among the training rows, so its score is misleading."""

    test_row: int
    train_row: int
    similarity: float
    test_text: str
    train_text: str


@dataclass(frozen=True)
class Twins:
    """Two training rows with (nearly) the same question. ``same_answer``: their answers are equal."""

    first: int
    second: int
    similarity: float
    same_answer: bool
    first_text: str
    second_text: str


@dataclass(frozen=True)
class Report:
    """The whole report. ``lengths`` of the training rows, by measure: prompt, answer or row; characters or tokens.

    ``exact`` counts rows that repeat an earlier one exactly (question and answer), ``near`` pairs with nearly the
    same question, ``conflicting`` groups with the same question and different answers.
    """

    train_rows: int
    test_rows: int
    with_input: float
    empty_answers: int
    lengths: dict[str, Lengths]
    max_length: int
    dropped_by_max_length: int
    threshold: float
    exact: int
    near: int
    conflicting: int
    twins: tuple[Twins, ...]
    leaks: int
    leakage: tuple[Leak, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the public JSON: ``lengths``, ``duplicates``, ``leakage``, ``dropped_by_max_length`` and counts."""
        return {
            "reported": {"train": self.train_rows, "test": self.test_rows},
            "with_input": self.with_input,
            "empty_answers": self.empty_answers,
            "lengths": {name: dataclasses.asdict(lengths) for name, lengths in self.lengths.items()},
            "max_length": self.max_length,
            "dropped_by_max_length": self.dropped_by_max_length,
            "duplicates": {
                "threshold": self.threshold,
                "exact": self.exact,
                "near": self.near,
                "conflicting": self.conflicting,
                "pairs": [dataclasses.asdict(pair) for pair in self.twins],
            },
            "leakage": {
                "threshold": self.threshold,
                "rows": self.leaks,
                "pairs": [dataclasses.asdict(leak) for leak in self.leakage],
            },
        }


def make_report(
    train: Sequence[Example],
    test: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase | None,
    template: PromptTemplate,
    max_length: int,
    threshold: float = THRESHOLD,
) -> Report:
    """Examine all rows of both parts. Without a tokenizer (none on this machine) there are no token lengths."""
    rows = [*train, *test]
    questions = [row.question for row in rows]
    with ThreadPoolExecutor(1) as pool:
        # The tokenizer releases the GIL while it works.
        counting = pool.submit(_token_lengths, train, tokenizer, template)
        pairs = near_pairs(questions, threshold)
        tokens = counting.result()
    twins = [pair for pair in pairs if pair.second < len(train)]
    leaks = find_leakage(pairs, len(train), len(rows)).nearest
    lengths = {"prompt_characters": [len(row.question) for row in train]}
    lengths |= {"answer_characters": [len(row.output) for row in train]} | tokens
    return Report(
        train_rows=len(train),
        test_rows=len(test),
        with_input=sum(bool(row.input.strip()) for row in train) / len(train),
        empty_answers=sum(not row.output.strip() for row in train),
        lengths={name: describe(values) for name, values in lengths.items()},
        max_length=max_length,
        dropped_by_max_length=sum(length > max_length for length in tokens.get("row_tokens", ())),
        threshold=threshold,
        exact=len(train) - len(set(train)),
        near=len(twins),
        conflicting=_conflicting(train),
        twins=tuple(_twins(twins[:MAX_PAIRS], train, questions)),
        leaks=len(leaks),
        leakage=tuple(
            Leak(pair.second - len(train), pair.first, pair.similarity, questions[pair.second], questions[pair.first])
            for pair in leaks[:MAX_PAIRS]
        ),
    )


def describe(values: Sequence[int]) -> Lengths:
    """Return mean, median, 95th percentile, maximum, a histogram whose last bin has all above the 99th percentile."""
    ordered = sorted(values)
    count = len(ordered)
    # Else one very long row would put all others into the first bin.
    width = max(1, -(-ordered[int(0.99 * (count - 1))] // BINS))
    counts = [0] * BINS
    for value in ordered:
        counts[min(value // width, BINS - 1)] += 1
    edges = (*range(0, width * BINS, width), max(width * BINS, ordered[-1] + 1))
    return Lengths(
        mean=sum(ordered) / count,
        median=ordered[count // 2],
        p95=ordered[int(0.95 * (count - 1))],
        max=ordered[-1],
        edges=edges,
        counts=tuple(counts),
    )


def _token_lengths(
    rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase | None, template: PromptTemplate
) -> dict[str, list[int]]:
    """Return tokens of prompt, answer (with EOS) and whole row; empty without a tokenizer."""
    if tokenizer is None:
        return {}
    prompts = count_prompt_tokens(tokenizer, template, [(row.instruction, row.input) for row in rows])
    answers = [count + 1 for count in count_continuation_tokens(tokenizer, [row.output for row in rows])]
    whole = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return {"prompt_tokens": prompts, "answer_tokens": answers, "row_tokens": whole}


def _conflicting(rows: Sequence[Example]) -> int:
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        answers[row.instruction.strip().lower(), row.input.strip()].add(row.output.strip())
    return sum(len(each) > 1 for each in answers.values())


def _twins(pairs: Sequence[NearPair], rows: Sequence[Example], questions: Sequence[str]) -> Iterator[Twins]:
    for pair in pairs:
        same = rows[pair.first].output == rows[pair.second].output
        yield Twins(pair.first, pair.second, pair.similarity, same, questions[pair.first], questions[pair.second])
