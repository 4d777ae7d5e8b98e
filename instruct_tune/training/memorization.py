"""Memorization of training rows: the quickest check of whether a pipeline learns at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.learning_rate import peak_rate
from ..config.run_config import GenerationSettings, TrainSettings
from ..generation.generate import Request, generate
from ..tokenization.continuation import decode_continuation
from ..tokenization.encode import TokenizedExample

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel

BY_HEART = 0.75
"""The share of exact answers that counts as learning; below 1, because one long row may resist."""


@dataclass(frozen=True)
class Memorization:
    """How many training rows were answered, and how many of the answers equal the trained ones exactly."""

    rows: int
    exact: int


def measure_memorization(
    loaded: LoadedModel, name: str, rows: Sequence[TokenizedExample], stopping: Callable[[], bool]
) -> Memorization:
    """Answer each row's prompt greedily with the adapter ``name``, and count the exact answers.

    An exact answer has the text that carried loss, and ends where the row ends. Raises Stopped at most one
    token after ``stopping()`` is true.
    """
    longest = max(row.supervised for row in rows)
    requests = [Request(row.input_ids[: row.prompt_length], name) for row in rows]
    answers = generate(loaded, requests, GenerationSettings(max_new_tokens=longest), stopping=stopping)
    exact = 0
    for row, answer in zip(rows, answers, strict=True):
        target_ids = row.input_ids[row.prompt_length :]
        text = decode_continuation(loaded.tokenizer, target_ids)
        # A truncated row has no EOS to learn: the answer only has to begin with its text.
        matches = answer.text.startswith(text) if row.truncated else answer.ended and answer.text == text
        exact += matches
    return Memorization(len(rows), exact)


def verdict(result: Memorization, first_loss: float, last_loss: float, settings: TrainSettings, steps: int) -> str:
    """One sentence: whether the pipeline learned in ``steps`` steps, and what to check if it did not."""
    summary = (
        f"It learned {result.exact} of {result.rows} answers by heart, loss {_loss(first_loss)} → {_loss(last_loss)}"
    )
    if result.exact >= BY_HEART * result.rows:
        return f"{summary}: the pipeline learns."
    if last_loss < first_loss / 2:
        longer = "train.max_steps" if settings.max_steps > 0 else "train.num_train_epochs"
        return f"{summary}: it learns, but it was not given the time; raise {longer}."
    rate = "train.warmup_steps" if peak_rate(settings, steps) < settings.learning_rate else "train.learning_rate"
    return f"{summary}: it hardly learns; look at {rate}, and on Format at which tokens carry loss."


def _loss(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
