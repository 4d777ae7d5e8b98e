"""All rows answered by everybody who is asked, part by part: what is known is not decoded, what is new is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.run_config import GenerationSettings
from ..generation.answer import Answer
from ..generation.generate import Request, generate
from .answer_cache import CachedAnswers
from .resume import KeptAnswers, Unfinished

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel


ROWS_TOGETHER = 32
"""Rows that all sides answer in turn. Few, so that there is an estimate early and a breathing point often;
many, because a batch of them costs hardly more than a batch of half as many."""


@dataclass(frozen=True)
class AnswererPrompts:
    """One side of an evaluation: its ``name``, the adapter that speaks (or ``adapter.BASE``), its prompts, row by row.

    What ``cached_answers`` knows of its answers is not decoded again; what it does not know is put there.
    """

    name: str
    speaker: str
    prompts: Sequence[Sequence[int]]
    cached_answers: CachedAnswers | None = None


def answer_all(
    loaded: LoadedModel,
    asked: Sequence[AnswererPrompts],
    settings: GenerationSettings,
    *,
    between_batches: Callable[[int, int], None] = lambda done, total: None,
    on_part: Callable[[Mapping[str, KeptAnswers]], None] = lambda said: None,
    stopping: Callable[[], bool] = lambda: False,
    kept: Unfinished | None = None,
) -> dict[str, KeptAnswers]:
    """What each side says, by its name; all have the same number of prompts.

    ``between_batches`` gets (answers done, answers in all), ``on_part`` what was said so far each time
    all sides have answered some more rows. ``kept`` has what was said before the evaluation was left,
    and gets what is said now. Raises Stopped where ``stopping``, asked at every token, says so.
    """
    said = {one.name: kept.of(one.name) if kept else KeptAnswers() for one in asked}
    total = sum(len(one.prompts) for one in asked)

    def told() -> None:
        between_batches(sum(len(each.answers) for each in said.values()), total)

    for part in parts_of(asked[0].prompts):
        for one in asked:
            _from_shelf(one, part, said[one.name], kept)
            _ask(loaded, one, part, said[one.name], settings, told, stopping, kept)
        on_part(said)
    return said


def _from_shelf(one: AnswererPrompts, rows: Sequence[int], said: KeptAnswers, kept: Unfinished | None) -> None:
    if not one.cached_answers:
        return
    known = one.cached_answers.known({row: one.prompts[row] for row in rows if row not in said.answers})
    said.add(known, remembered=len(known))
    if kept:
        kept.add(one.name, known, remembered=len(known))


def _ask(
    loaded: LoadedModel,
    one: AnswererPrompts,
    rows: Sequence[int],
    said: KeptAnswers,
    settings: GenerationSettings,
    told: Callable[[], None],
    stopping: Callable[[], bool],
    kept: Unfinished | None,
) -> None:
    """Decode what ``one`` has not said of ``rows``, and keep it batch by batch."""
    wanted = [row for row in rows if row not in said.answers]
    began = time.perf_counter()

    def take(new: Mapping[int, Answer]) -> None:
        nonlocal began
        seconds = time.perf_counter() - began
        answers = {wanted[index]: answer for index, answer in new.items()}
        said.add(answers, seconds)
        if kept:
            kept.add(one.name, answers, seconds)
        if one.cached_answers:
            one.cached_answers.add({tuple(one.prompts[row]): answer for row, answer in answers.items()})
        told()
        # What was served in between is no decoding.
        began = time.perf_counter()

    # What the model cannot read has no answer; one such row must not cost all others theirs.
    if unread := {row: Answer("", 0, False) for row in wanted if len(one.prompts[row]) >= loaded.context_length}:
        said.add(unread)
        wanted = [row for row in wanted if row not in unread]
        told()
    requests = [Request(tuple(one.prompts[row]), one.speaker) for row in wanted]
    generate(loaded, requests, settings, on_answers=take, stopping=stopping)


def parts_of(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Row numbers in parts of at most ``ROWS_TOGETHER``, of even size, each of prompts alike in length."""
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    parts = -(-len(order) // ROWS_TOGETHER)
    return [order[len(order) * part // parts : len(order) * (part + 1) // parts] for part in range(parts)]
