"""The part of an evaluation that needs the model: from the prompts to the scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..config.run_config import GenerationSettings
from ..data.splits import Example
from ..evaluation.answer_cache import Unfinished, cache_of, unfinished
from ..evaluation.baselines import baselines
from ..evaluation.evaluate import Evaluation, evaluate
from ..evaluation.predict import ROWS_TOGETHER
from ..generation.generate import one_by_one
from ..pretrained.locate import Weights
from ..tokenization.prompt_template import PromptTemplate
from .model_host import ModelSpec
from .progress_meter import Meter
from .work import WorkEvents

if TYPE_CHECKING:
    from .model_host import ModelHost


class EvaluationEvents(WorkEvents, Protocol):
    """Receives the progress of an evaluation."""

    def report(self, **news: Any) -> None:
        """Any of ``Meter.progress`` and ``estimate``."""


@dataclass(frozen=True)
class EvaluationOutcome:
    """The scores, sentences that belong to them, the weights, and the file of answers that is to be deleted now."""

    evaluation: Evaluation
    warnings: tuple[str, ...]
    weights: Weights
    unfinished: Unfinished


@dataclass(frozen=True)
class EvaluationWork:
    """What is answered and scored.

    Args:
        model: The base model.
        run_id: The adapter's name.
        folder: The run's folder, with the adapter; answers so far are kept there until the evaluation is done.
        template: Renders the prompts.
        rows: The held-out rows.
        generation: How to decode.
        tokenize: BLEU's tokenisation.
        total: How many answers there will be.
        baselines: The baselines that answer, too.
        training: The rows that baselines take examples from.
        seed: Chooses them.
        base_answers: Folder with base's answers to held-out rows; None where they may not be kept.
    """

    model: ModelSpec
    run_id: str
    folder: Path
    template: PromptTemplate
    rows: tuple[Example, ...]
    generation: GenerationSettings
    tokenize: str
    total: int
    baselines: tuple[str, ...]
    training: tuple[Example, ...]
    seed: int
    base_answers: Path | None

    def execute(self, models: ModelHost, events: EvaluationEvents) -> EvaluationOutcome:
        """Answer all rows and score them."""
        loaded = models.prepare(self.model, events.message, events.stopping)
        models.with_adapter(loaded, self.run_id, self.folder / "adapter")
        models.evaluating = self.run_id
        try:
            settings, alone = self.generation, one_by_one(loaded)
            longest = settings.max_new_tokens or settings.max_length or loaded.context_length
            meter = Meter(self.total, longest, 1 if alone else min(ROWS_TOGETHER, len(self.rows)))
            cached = cache_of(self.base_answers, loaded, settings) if self.base_answers else None
            beside = baselines(
                self.baselines, loaded, self.template, self.rows, self.training, settings, self.seed, cached
            )
            about = {"rows": len(self.rows), "baselines": list(self.baselines), "tokenize": self.tokenize}
            estimate: dict[str, Any] = {}
            kept: list[Unfinished] = []
            warnings = [alone] if alone else []

            def keep(prompts: Mapping[str, Sequence[Sequence[int]]]) -> Unfinished:
                warnings.extend(_too_long(prompts, loaded.context_length))
                kept.append(unfinished(self.folder, loaded, settings, prompts, about))
                meter.resume(sum(len(kept[0].of(side).answers) for side in prompts))
                events.report(**meter.progress())
                return kept[0]

            def between(done: int, total: int) -> None:
                meter.batch_done(done)
                events.report(**meter.progress(), **estimate)
                events.yield_to_queue()

            def stopped() -> bool:
                if meter.token():
                    events.report(**meter.progress(), **estimate)
                return events.stopping()

            evaluation = evaluate(
                loaded,
                self.run_id,
                self.template,
                self.rows,
                settings,
                between_batches=between,
                on_estimate=lambda known: estimate.update(estimate=dataclasses.asdict(known)),
                stopping=stopped,
                cached_answers=cached,
                beside=beside,
                keep=keep,
                tokenize=self.tokenize,
            )
            return EvaluationOutcome(evaluation, tuple(warnings), loaded.weights, kept[0])
        finally:
            models.evaluating = None


def _too_long(prompts: Mapping[str, Sequence[Sequence[int]]], context_length: int) -> list[str]:
    """That some prompts are longer than the model can read, a sentence a side."""
    counts = {side: sum(len(prompt) >= context_length for prompt in each) for side, each in prompts.items()}
    return [
        f"{count} of {len(prompts[side])} prompts of {side} do not fit into the model's context of {context_length} "
        "tokens: their answers are empty, and scored as that."
        for side, count in counts.items()
        if count
    ]
