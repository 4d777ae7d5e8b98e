"""A run and held-out rows → numbers: the same rows answered by base and by the tuned model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..config.run_config import GenerationSettings
from ..data.splits import Example
from ..errors import DataError
from ..generation.answer import Answer
from ..models.lora import BASE
from ..text.code_parsing import ParseShare, parse_share
from ..tokenization.encode import encode_prompts
from ..tokenization.prompt_template import PromptTemplate
from .answer_cache import CachedAnswers
from .baselines import Baselines
from .bleu import TOKENIZE, BleuReport, difference_interval, paired_test, quick_bleu, score, sentence_chrf
from .predict import AnswererPrompts, answer_all
from .resume import KeptAnswers, Unfinished

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel


NONE = Baselines()


@dataclass(frozen=True)
class Prediction:
    """One held-out row, answered twice, and by ``baselines`` where there are any.

    ``…_chrf``: sentence chrF2 against the reference, 0 to 100.
    """

    instruction: str
    input: str
    reference: str
    base: str
    tuned: str
    base_ended: bool
    tuned_ended: bool
    base_tokens: int
    tuned_tokens: int
    base_chrf: float
    tuned_chrf: float
    baselines: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A line of the predictions file: the fields by name, a baseline's answer as ``baseline_NAME``."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "baselines"}
        return own | {f"baseline_{name}": text for name, text in self.baselines.items()}


@dataclass(frozen=True)
class Side:
    """How one side's answers look, beside their score.

    ``ended`` by themselves; the others hit the token limit (``hit_limit``). ``exact``: answers that
    are the reference to the last space. ``seconds`` of decoding, without what was served in between.
    """

    report: BleuReport
    ended: int
    hit_limit: int
    empty: int
    exact: int
    tokens: int
    seconds: float

    def to_dict(self, name: str) -> dict[str, Any]:
        """The side's part of the public JSON: the REPORT under ``name``, the rest as ``name_…``."""
        return {name: self.report.to_dict(), **{f"{name}_{each}": value for each, value in self.counts().items()}}

    def counts(self) -> dict[str, Any]:
        """All but the report, and the ``mean_tokens`` of an answer."""
        names = ("ended", "hit_limit", "empty", "exact", "tokens", "seconds")
        mean = self.tokens / max(1, self.ended + self.hit_limit)
        return {**{name: getattr(self, name) for name in names}, "mean_tokens": mean}


@dataclass(frozen=True)
class Evaluation:
    """Base against tuned on the same rows with the same settings; ``delta`` and scores in BLEU points.

    ``base_cut_bleu``: what base would score if its answers were cut to the length of those tuned
    answers that ended by themselves. How far it lies above base's own score tells how much of a
    gain is stopping in time. ``identical``: rows that both answered with the same text.
    ``base_remembered``: how many of base's answers were known from before, and not decoded again.
    ``delta_ci``: the 95% interval of ``delta``, None for a single row. ``parsed``: the answers to
    rows of code that parse. ``tokenize``: how BLEU cut the texts into words.
    """

    run_id: str
    generation: GenerationSettings
    base_side: Side
    tuned_side: Side
    p_value: float | None
    delta_ci: tuple[float, float] | None
    parsed: ParseShare
    base_cut_bleu: float
    identical: int
    predictions: tuple[Prediction, ...]
    base_remembered: int = 0
    baselines: Mapping[str, Side] = field(default_factory=dict)
    tokenize: str = TOKENIZE

    @property
    def base(self) -> BleuReport:
        return self.base_side.report

    @property
    def tuned(self) -> BleuReport:
        return self.tuned_side.report

    @property
    def delta(self) -> float:
        return self.tuned.bleu - self.base.bleu

    def to_dict(self) -> dict[str, Any]:
        """The public JSON, without the predictions, which go to a file of their own."""
        return {
            "run_id": self.run_id,
            "rows": len(self.predictions),
            "generation": self.generation.to_dict(),
            "tokenize": self.tokenize,
            **self.base_side.to_dict("base"),
            **self.tuned_side.to_dict("tuned"),
            "delta": self.delta,
            "p_value": self.p_value,
            "delta_ci": list(self.delta_ci) if self.delta_ci else None,
            "parsed": dataclasses.asdict(self.parsed),
            "base_cut_bleu": self.base_cut_bleu,
            "identical": self.identical,
            "base_remembered": self.base_remembered,
            "baselines": {name: side.report.to_dict() | side.counts() for name, side in self.baselines.items()},
        }


@dataclass(frozen=True)
class Estimate:
    """BLEU of both sides on the rows that both have answered so far, and the 95% interval of their difference."""

    rows: int
    base: float
    tuned: float
    delta_ci: tuple[float, float] | None


def evaluate(
    loaded: LoadedModel,
    run_id: str,
    template: PromptTemplate,
    examples: Sequence[Example],
    generation: GenerationSettings,
    *,
    between_batches: Callable[[int, int], None] = lambda done, total: None,
    on_estimate: Callable[[Estimate], None] = lambda estimate: None,
    stopping: Callable[[], bool] = lambda: False,
    cached_answers: CachedAnswers | None = None,
    beside: Baselines = NONE,
    keep: Callable[[Mapping[str, Sequence[Sequence[int]]]], Unfinished | None] = lambda prompts: None,
    tokenize: str = TOKENIZE,
) -> Evaluation:
    """Answer ``examples`` with base and with the adapter ``run_id``, and score both.

    What ``cached_answers`` knows of base's answers is not decoded again; what it does not know is put there.
    ``beside``: who else answers (``baselines.baselines``).
    ``keep`` gets all prompts by side and says where answers are kept until the evaluation is done.
    ``tokenize``: how BLEU cuts texts into words, see ``bleu_words``.

    ``between_batches`` gets (answers done, answers in all), ``on_estimate`` the scores so far each
    time both have answered some more rows, ``stopping`` is asked at every token. Raises DataError
    without rows, Stopped where ``stopping`` says so.
    """
    if not examples:
        raise DataError("There are no held-out rows to evaluate on: raise data.test_size or use more data.")
    prompts = encode_prompts(loaded.tokenizer, template, [(e.instruction, e.input) for e in examples])
    asked = (
        AnswererPrompts("base", BASE, prompts, cached_answers),
        AnswererPrompts("tuned", run_id, prompts),
        *beside.asked,
    )

    def estimated(said: Mapping[str, KeptAnswers]) -> None:
        if len(said["base"].answers) < len(examples):
            on_estimate(_estimate(examples, said["base"].answers, said["tuned"].answers, tokenize))

    said = answer_all(
        loaded,
        asked,
        generation,
        between_batches=between_batches,
        on_part=estimated,
        stopping=stopping,
        kept=keep({one.name: one.prompts for one in asked}),
    )
    base, tuned = ([said[name].answers[row] for row in range(len(examples))] for name in ("base", "tuned"))
    seconds = (said["base"].seconds, said["tuned"].seconds)
    scored = summarise(run_id, examples, generation, base, tuned, seconds, tokenize)
    scored = dataclasses.replace(scored, base_remembered=said["base"].remembered)
    took = {one.name: said[one.name].seconds for one in beside.asked}
    return _with_baselines(scored, examples, beside.answers(said), took)


def _estimate(
    examples: Sequence[Example], base: Mapping[int, Answer], tuned: Mapping[int, Answer], tokenize: str
) -> Estimate:
    rows = sorted(base.keys() & tuned.keys())
    references = [examples[row].output for row in rows]
    first, second = ([found[row].text for row in rows] for found in (base, tuned))
    interval = difference_interval(first, second, references, tokenize=tokenize)
    base_bleu, tuned_bleu = (quick_bleu(texts, references, tokenize=tokenize) for texts in (first, second))
    return Estimate(len(rows), base_bleu, tuned_bleu, interval)


def summarise(
    run_id: str,
    examples: Sequence[Example],
    generation: GenerationSettings,
    base: Sequence[Answer],
    tuned: Sequence[Answer],
    seconds: tuple[float, float] = (0.0, 0.0),
    tokenize: str = TOKENIZE,
) -> Evaluation:
    """Scores of both sides, and the paired test between them. ``seconds``: what decoding took (base, tuned)."""
    predictions = tuple(_prediction(*row) for row in zip(examples, base, tuned, strict=True))
    references = [e.output for e in examples]
    base_texts, tuned_texts = [a.text for a in base], [a.text for a in tuned]
    return Evaluation(
        run_id,
        generation,
        _side(base, references, seconds[0], tokenize),
        _side(tuned, references, seconds[1], tokenize),
        paired_test(base_texts, tuned_texts, references, tokenize=tokenize) if len(examples) > 1 else None,
        difference_interval(base_texts, tuned_texts, references, tokenize=tokenize),
        parse_share(references, base_texts, tuned_texts),
        quick_bleu([_cut_like(b, t) for b, t in zip(base, tuned, strict=True)], references, tokenize=tokenize),
        sum(b == t for b, t in zip(base_texts, tuned_texts, strict=True)),
        predictions,
        tokenize=tokenize,
    )


def _with_baselines(
    scored: Evaluation,
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[Answer]],
    seconds: Mapping[str, float],
) -> Evaluation:
    references = [e.output for e in examples]
    sides = {name: _side(found, references, seconds.get(name, 0.0), scored.tokenize) for name, found in answers.items()}
    predictions = tuple(
        dataclasses.replace(prediction, baselines={name: found[row].text for name, found in answers.items()})
        for row, prediction in enumerate(scored.predictions)
    )
    return dataclasses.replace(scored, baselines=sides, predictions=predictions)


def _side(answers: Sequence[Answer], references: Sequence[str], seconds: float, tokenize: str) -> Side:
    ended = sum(answer.ended for answer in answers)
    return Side(
        score([answer.text for answer in answers], references, tokenize=tokenize),
        ended=ended,
        hit_limit=len(answers) - ended,
        empty=sum(not answer.text.strip() for answer in answers),
        exact=sum(a.text == reference for a, reference in zip(answers, references, strict=True)),
        tokens=sum(answer.tokens for answer in answers),
        seconds=seconds,
    )


def _cut_like(base: Answer, tuned: Answer) -> str:
    return base.text[: len(tuned.text)] if tuned.ended else base.text


def _prediction(example: Example, base: Answer, tuned: Answer) -> Prediction:
    return Prediction(
        example.instruction,
        example.input,
        example.output,
        base.text,
        tuned.text,
        base.ended,
        tuned.ended,
        base.tokens,
        tuned.tokens,
        round(sentence_chrf(base.text, example.output), 2),
        round(sentence_chrf(tuned.text, example.output), 2),
    )
