"""Predictions of all sides, part by part: cached answers are not decoded again, new ones are stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.run_config import GenerationSettings
from ..generation.answer import Answer
from ..generation.generate import Request, generate
from .answer_cache import CachedAnswers, KeptAnswers, Unfinished

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel


ROWS_TOGETHER = 32
"""The number of rows that all sides answer before the next rows. Few, for early estimates and frequent pauses for
short jobs; many, because a batch of them costs hardly more than a batch of half as many."""


@dataclass(frozen=True)
class AnswererPrompts:
    """One side of an evaluation: its ``name``, its adapter (or ``lora.BASE``), and the ids of its prompts, row by row.

    Answers in ``cached_answers`` are not decoded again; new ones are added.
    """

    name: str
    adapter_name: str
    prompts: Sequence[Sequence[int]]
    cached_answers: CachedAnswers | None = None


def answer_all(
    loaded: LoadedModel,
    sides: Sequence[AnswererPrompts],
    settings: GenerationSettings,
    *,
    between_batches: Callable[[int, int], None] = lambda done, total: None,
    on_part: Callable[[Mapping[str, KeptAnswers]], None] = lambda answered: None,
    stopping: Callable[[], bool] = lambda: False,
    kept: Unfinished | None = None,
) -> dict[str, KeptAnswers]:
    """Each side's answers, by its name; all sides have the same number of prompts.

    ``between_batches`` gets (answers done, answers in all); ``on_part`` gets the answers so far, each time
    all sides have answered more rows. ``kept`` contains the answers from before an interruption, and gets the
    new ones. Raises Stopped where ``stopping()``, checked at every token, is true.
    """
    kept = kept or Unfinished()
    answered = {side.name: kept.of(side.name) for side in sides}
    total = sum(len(side.prompts) for side in sides)

    def report_progress() -> None:
        between_batches(sum(len(each.answers) for each in answered.values()), total)

    for part in parts_of(sides[0].prompts):
        for side in sides:
            _take_cached(side, part, kept)
            _decode_missing(loaded, side, part, settings, report_progress, stopping, kept)
        on_part(answered)
    return answered


def _take_cached(side: AnswererPrompts, rows: Sequence[int], kept: Unfinished) -> None:
    if side.cached_answers:
        answers = kept.of(side.name).answers
        cached = side.cached_answers.known({row: side.prompts[row] for row in rows if row not in answers})
        kept.add(side.name, cached, remembered=len(cached))


def _decode_missing(
    loaded: LoadedModel,
    side: AnswererPrompts,
    rows: Sequence[int],
    settings: GenerationSettings,
    report_progress: Callable[[], None],
    stopping: Callable[[], bool],
    kept: Unfinished,
) -> None:
    """Decode the missing answers of ``side`` to ``rows``, and store them batch by batch."""
    answered = kept.of(side.name)
    missing = [row for row in rows if row not in answered.answers]
    began = time.perf_counter()

    def take(new: Mapping[int, Answer]) -> None:
        nonlocal began
        answers = {missing[index]: answer for index, answer in new.items()}
        kept.add(side.name, answers, time.perf_counter() - began)
        if side.cached_answers:
            side.cached_answers.add({tuple(side.prompts[row]): answer for row, answer in answers.items()})
        report_progress()
        # Short jobs that ran in between do not count as decoding time.
        began = time.perf_counter()

    # A prompt that does not fit into the context gets an empty answer, so that it does not end the evaluation.
    if too_long := {row: Answer("", 0, False) for row in missing if len(side.prompts[row]) >= loaded.context_length}:
        answered.add(too_long)
        missing = [row for row in missing if row not in too_long]
        report_progress()
    requests = [Request(tuple(side.prompts[row]), side.adapter_name) for row in missing]
    generate(loaded, requests, settings, on_answers=take, stopping=stopping)


def parts_of(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Row numbers in parts of about equal size, at most ``ROWS_TOGETHER``, each with prompts of similar length."""
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    parts = -(-len(order) // ROWS_TOGETHER)
    return [order[len(order) * part // parts : len(order) * (part + 1) // parts] for part in range(parts)]
