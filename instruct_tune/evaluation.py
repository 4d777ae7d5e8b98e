"""A run and held-out rows → numbers: the same rows answered by base and by the tuned model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .adapter import BASE
from .bleu import BleuReport, paired_test, score
from .dataset import Example
from .errors import DataError
from .generation import Answer, Request, generate
from .prompt import PromptTemplate
from .settings import GenerationSettings
from .tokenization import encode_prompts

if TYPE_CHECKING:
    from .model import LoadedModel


@dataclass(frozen=True)
class Prediction:
    """One held-out row, answered twice."""

    instruction: str
    input: str
    reference: str
    base: str
    tuned: str
    base_ended: bool
    tuned_ended: bool


@dataclass(frozen=True)
class Evaluation:
    """Base against tuned on the same rows with the same settings; ``delta`` and scores in BLEU points."""

    run_id: str
    generation: GenerationSettings
    base: BleuReport
    tuned: BleuReport
    p_value: float | None
    predictions: tuple[Prediction, ...]

    @property
    def delta(self) -> float:
        return self.tuned.bleu - self.base.bleu

    def to_dict(self) -> dict[str, Any]:
        """The public JSON, without the predictions, which go to a file of their own."""
        return {
            "run_id": self.run_id,
            "rows": len(self.predictions),
            "generation": dataclasses.asdict(self.generation),
            "base": self.base.to_dict(),
            "tuned": self.tuned.to_dict(),
            "delta": self.delta,
            "p_value": self.p_value,
            "base_ended": sum(p.base_ended for p in self.predictions),
            "tuned_ended": sum(p.tuned_ended for p in self.predictions),
        }


def evaluate(
    loaded: LoadedModel,
    run_id: str,
    template: PromptTemplate,
    examples: Sequence[Example],
    generation: GenerationSettings,
    *,
    between_batches: Callable[[int, int], None] = lambda done, total: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Answer ``examples`` with base and with the adapter ``run_id``, and score both.

    ``between_batches`` gets (answers done, answers in all). Raises DataError without rows, Stopped
    where ``stopping`` says so.
    """
    if not examples:
        raise DataError("There are no held-out rows to evaluate on: raise data.test_size or use more data.")
    prompts = encode_prompts(loaded.tokenizer, template, [(e.instruction, e.input) for e in examples])
    answers: dict[str, list[Answer]] = {}
    for done_before, speaker in ((0, BASE), (len(examples), run_id)):

        def progress(done: int, before: int = done_before) -> None:
            between_batches(before + done, 2 * len(examples))

        requests = [Request(tuple(prompt), speaker) for prompt in prompts]
        answers[speaker] = generate(loaded, requests, generation, between_batches=progress, stopping=stopping)
    return summarise(run_id, examples, generation, answers[BASE], answers[run_id])


def summarise(
    run_id: str,
    examples: Sequence[Example],
    generation: GenerationSettings,
    base: Sequence[Answer],
    tuned: Sequence[Answer],
) -> Evaluation:
    """Scores of both sides, and the paired test between them."""
    references = [e.output for e in examples]
    base_texts, tuned_texts = [a.text for a in base], [a.text for a in tuned]
    predictions = tuple(
        Prediction(e.instruction, e.input, e.output, b.text, t.text, b.ended, t.ended)
        for e, b, t in zip(examples, base, tuned, strict=True)
    )
    return Evaluation(
        run_id,
        generation,
        score(base_texts, references),
        score(tuned_texts, references),
        paired_test(base_texts, tuned_texts, references) if len(examples) > 1 else None,
        predictions,
    )
