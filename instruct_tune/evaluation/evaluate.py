"""Evaluation: base and the tuned model answer the same held-out rows, and both are scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..config.run_config import NEAREST_BASELINE, GenerationSettings
from ..data.splits import Example
from ..errors import DataError
from ..generation.answer import Answer
from ..models.lora import BASE
from ..text.code_parsing import ParseShare, parse_share
from ..tokenization.encode import encode_prompts
from ..tokenization.prompt_template import PromptTemplate
from .answer_cache import CachedAnswers, KeptAnswers, Unfinished
from .baselines import Baselines
from .bleu import (
    FEWEST_TESTED,
    TOKENIZE,
    BleuReport,
    difference_interval,
    paired_test,
    quick_bleu,
    score,
    sentence_chrf,
)
from .predict import AnswererPrompts, answer_all

if TYPE_CHECKING:
    from ..models.base_model import LoadedModel


NONE = Baselines()


@dataclass(frozen=True)
class Prediction:
    """One held-out row with the answers of base and tuned, and of ``baselines`` where there are any.

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
        """A row of the predictions file: the fields by name, a baseline's answer as ``baseline_NAME``."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "baselines"}
        return own | {f"baseline_{name}": text for name, text in self.baselines.items()}


@dataclass(frozen=True)
class Side:
    """One side's score and counts of its answers.

    ``ended``: answers that ended with EOS or at a stop text; the others hit the token limit (``hit_limit``), or have no
    token because their prompt left no room for one (``no_room``).
    ``exact``: answers equal to the reference, whitespace included. ``seconds``: decoding time, without the short
    jobs in between.
    """

    report: BleuReport
    ended: int
    hit_limit: int
    no_room: int
    empty: int
    exact: int
    tokens: int
    seconds: float

    def to_dict(self, name: str) -> dict[str, Any]:
        """The side's part of the public JSON: the REPORT under ``name``, the counts as ``name_…``."""
        return {name: self.report.to_dict(), **{f"{name}_{each}": value for each, value in self.counts().items()}}

    def counts(self) -> dict[str, Any]:
        """All fields but the report, and ``mean_tokens`` an answer; ``no_room`` where there is any."""
        names = ("ended", "hit_limit", *(["no_room"] if self.no_room else []), "empty", "exact", "tokens", "seconds")
        mean = self.tokens / max(1, self.ended + self.hit_limit + self.no_room)
        return {**{name: getattr(self, name) for name in names}, "mean_tokens": mean}


@dataclass(frozen=True)
class Evaluation:
    """Base against tuned on the same rows with the same settings; ``delta`` and scores in BLEU points.

    ``base_cut_bleu``: the score of base's answers when they are cut to the length of those tuned
    answers that ended by themselves; its distance to base's own score is the part of a gain that comes from
    stopping in time. ``identical``: rows with the same text from both. ``base_remembered``: how many of base's
    answers came from the cache. ``delta_ci``: the 95% interval of ``delta``, None for a single row.
    ``parsed``: the share of answers to code rows that are code and parse. ``tokenize``: BLEU's tokenisation.
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
        """The public JSON, without the predictions, which are in a separate file."""
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
            "baselines": {name: self._baseline(name) for name in self.baselines},
        }

    def _baseline(self, name: str) -> dict[str, Any]:
        side = self.baselines[name]
        # The nearest row's answer is not decoded: nothing ended or took time.
        counts = {"empty": side.empty, "exact": side.exact} if name == NEAREST_BASELINE else side.counts()
        return side.report.to_dict() | counts


@dataclass(frozen=True)
class Estimate:
    """Both sides' BLEU on the rows that both have answered so far, and the 95% interval of the difference."""

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

    Args:
        loaded: The model, with the adapter on it.
        run_id: The adapter's name.
        template: Renders the prompts.
        examples: The held-out rows.
        generation: How to decode.
        between_batches: Called with (answers done, answers in all).
        on_estimate: Called with the scores so far, each time both have answered more rows.
        stopping: Checked at every token.
        cached_answers: Base's cached answers, which are not decoded again; new ones are added.
        beside: The baselines that answer, too (``baselines.baselines``).
        keep: Gets all prompts by side; returns the file of answers that lets an interrupted evaluation resume.
        tokenize: BLEU's tokenisation, see ``bleu_tokenizers``.

    Raises DataError without rows, Stopped where ``stopping()`` is true.
    """
    if not examples:
        raise DataError("There are no held-out rows to evaluate on: raise data.test_size or use more data.")
    prompts = encode_prompts(loaded.tokenizer, template, [(e.instruction, e.input) for e in examples])
    sides = (
        AnswererPrompts("base", BASE, prompts, cached_answers),
        AnswererPrompts("tuned", run_id, prompts),
        *beside.answerers,
    )

    def estimated(answered: Mapping[str, KeptAnswers]) -> None:
        if len(answered["base"].answers) < len(examples):
            on_estimate(_estimate(examples, answered["base"].answers, answered["tuned"].answers, tokenize))

    answered = answer_all(
        loaded,
        sides,
        generation,
        between_batches=between_batches,
        on_part=estimated,
        stopping=stopping,
        kept=keep({one.name: one.prompts for one in sides}),
    )
    base, tuned = ([answered[name].answers[row] for row in range(len(examples))] for name in ("base", "tuned"))
    seconds = (answered["base"].seconds, answered["tuned"].seconds)
    scored = summarise(run_id, examples, generation, base, tuned, seconds, tokenize)
    scored = dataclasses.replace(scored, base_remembered=answered["base"].remembered)
    baseline_seconds = {one.name: answered[one.name].seconds for one in beside.answerers}
    return _with_baselines(scored, examples, beside.answers(answered), baseline_seconds)


def _estimate(
    examples: Sequence[Example], base: Mapping[int, Answer], tuned: Mapping[int, Answer], tokenize: str
) -> Estimate:
    rows = sorted(base.keys() & tuned.keys())
    references = [examples[row].output for row in rows]
    first, second = ([side[row].text for row in rows] for side in (base, tuned))
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
    """Both sides' scores, and the paired test between them. ``seconds``: decoding time of (base, tuned)."""
    predictions = tuple(_prediction(*row) for row in zip(examples, base, tuned, strict=True))
    references = [e.output for e in examples]
    base_texts, tuned_texts = [a.text for a in base], [a.text for a in tuned]
    return Evaluation(
        run_id,
        generation,
        _side(base, references, seconds[0], tokenize),
        _side(tuned, references, seconds[1], tokenize),
        paired_test(base_texts, tuned_texts, references, tokenize=tokenize) if len(examples) >= FEWEST_TESTED else None,
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
    sides = {name: _side(side, references, seconds.get(name, 0.0), scored.tokenize) for name, side in answers.items()}
    predictions = tuple(
        dataclasses.replace(prediction, baselines={name: side[row].text for name, side in answers.items()})
        for row, prediction in enumerate(scored.predictions)
    )
    return dataclasses.replace(scored, baselines=sides, predictions=predictions)


def _side(answers: Sequence[Answer], references: Sequence[str], seconds: float, tokenize: str) -> Side:
    ended = sum(answer.ended for answer in answers)
    no_room = sum(not answer.ended and answer.tokens == 0 for answer in answers)
    return Side(
        score([answer.text for answer in answers], references, tokenize=tokenize),
        ended=ended,
        hit_limit=len(answers) - ended - no_room,
        no_room=no_room,
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
