"""BLEU of one adapter, or of base, on a few rows: the short form of an evaluation, for a run that trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..config.run_config import GenerationSettings
from ..data.splits import Example
from ..tokenization.encode import encode_prompts
from ..tokenization.prompt_template import PromptTemplate
from .answer_cache import CachedAnswers
from .bleu import BleuReport, score
from .predict import AnswererPrompts, answer_all

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel


def adapter_bleu(
    loaded: LoadedModel,
    adapter_name: str,
    template: PromptTemplate,
    rows: Sequence[Example],
    generation: GenerationSettings,
    *,
    between_batches: Callable[[int, int], None] = lambda done, total: None,
    stopping: Callable[[], bool] = lambda: False,
    cached_answers: CachedAnswers | None = None,
) -> BleuReport:
    """The score of the adapter's answers to ``rows``, to the digit that of ``evaluate`` on them; without an interval.

    ``adapter_name``: an adapter, or ``lora.BASE``. ``between_batches`` gets (answers done, answers in all). Answers
    in ``cached_answers`` are not decoded again; new ones are added. Raises DataError without rows, Stopped where
    ``stopping()``, checked at every token, is true.
    """
    prompts = encode_prompts(loaded.tokenizer, template, [(row.instruction, row.input) for row in rows])
    side = AnswererPrompts(adapter_name, adapter_name, prompts, cached_answers)
    answered = answer_all(loaded, [side], generation, between_batches=between_batches, stopping=stopping)
    answers = answered[adapter_name].answers
    return score([answers[row].text for row in range(len(rows))], [row.output for row in rows], bootstrap=0)
