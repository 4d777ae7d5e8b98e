"""Diagnoses of a run, while it trains and after: each finding has its evidence and one thing to try.

Findings are warnings and never block a run; a run without problems has none. Pure functions of the run store's
rows, so that the page, the endpoints and the tests get the same findings. ``evaluation.interpretation`` explains
the result of a finished run.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config.learning_rate import higher_rate_advice, is_warming_up, used_rate, warmup_sentence
from ..evaluation.interpretation import MOVED, ROSE_AGAIN
from ..store.run import LIVE, Run
from ..store.run_store import RunStore

WINDOW = 4
"""The number of batches in a mean: single batches vary by a factor of two, because their rows do."""
EXPLODED, EXPLODED_NATS = 2.0, 0.5
"""A training loss has exploded when it has doubled and risen by this many nats: the worst order of rows changes the
mean of four batches by half, and a loss near zero doubles without a cause."""
LEAP, EARLY = 1.1, 1 / 3
"""The learning rate is too high when the held-out loss is this far above its start within the first third of the
run: noise is below a hundredth, and with a suitable rate the loss falls there."""
FLAT, FLAT_PROBES = 0.005, 4
"""A held-out loss has stopped falling when its best improves by less than this share in so many probes: half of the
change from another order of the rows."""
LATE = 0.5
"""Before this share of the run, a missing effect is no finding."""
ANSWERS = 3
"""How many consecutive answers to the fixed prompt must lack EOS."""
CHARACTERS_A_TOKEN = 3
"""Fewer than any tokenizer of the catalog has in English prose and code, for runs that did not count the tokens of
the expected answer. One with more tokens than the limit cannot end, so a missing EOS proves nothing."""
LAST_WORDS = 12
"""The number of words at an answer's end that are checked: in prose or code, some eight or more of them differ."""
UNCHANGED = 1e-3
"""Below this norm of all B matrices the adapter is unchanged: an effective learning rate raises it above 1 within a
dozen steps."""
MAX_ROWS = 0.5
LOWER_WARMUP = "Lower train.warmup_steps."


@dataclass(frozen=True)
class Finding:
    """``kind`` names the rule, ``label`` is for the plot, ``sentence`` is the evidence, ``advice`` one suggestion.

    ``steps``: first and last step of the evidence; None where it concerns the whole run.
    """

    kind: str
    label: str
    sentence: str
    advice: str
    steps: tuple[int, int] | None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Course:
    """The data of a run that the rules read."""

    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    step: int
    total_steps: int
    held_out: tuple[tuple[int, float], ...]
    """(step, loss) on the probe rows; without probe rows, on the evaluation rows."""
    own: tuple[tuple[int, float], ...]
    """(step, loss) of each batch."""
    gradients: tuple[float, ...]
    samples: Sequence[Mapping[str, Any]]
    rate: float
    """The highest learning rate of the steps so far."""
    live: bool
    """Whether the run can still be stopped."""

    @property
    def warming_up(self) -> bool:
        """Whether warm-up has kept every step so far below ``train.learning_rate``."""
        return is_warming_up(self.config["train"], self.rate)

    @property
    def warmup_too_long(self) -> bool:
        """Whether warm-up keeps every step of the whole run below ``train.learning_rate``."""
        return self.warming_up and self.config["train"]["warmup_steps"] >= self.total_steps

    @property
    def warmup(self) -> str:
        return warmup_sentence(self.config["train"], self.rate, self.total_steps)

    @property
    def lower_rate(self) -> str:
        """The advice to use a tenth of the rate, without a warm-up that would lower it further."""
        return f"a learning rate of {self.rate / 10:g}" + (" and no warm-up" if self.warmup_too_long else "")

    @property
    def late(self) -> bool:
        return self.step >= LATE * max(self.total_steps, 1)

    def mean(self, first: int, last: int) -> float | None:
        """Mean loss of the batches from step ``first`` to ``last``; None where there are fewer than ``WINDOW``."""
        losses = [loss for step, loss in self.own if first <= step <= last]
        return sum(losses) / len(losses) if len(losses) >= WINDOW else None


def diagnose(
    run: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]]
) -> tuple[Finding, ...]:
    """The findings, the most serious first.

    ``run``: its ``status``, ``config``, ``facts``, ``step`` and ``total_steps``; ``metrics`` and ``samples`` as in the
    store, the samples of the first prompt.
    """
    course = Course(
        run["config"],
        run["facts"],
        run["step"],
        run["total_steps"],
        _points(metrics, "probe", "probe_loss") or _points(metrics, "eval", "eval_loss"),
        _points(metrics, "train", "loss"),
        tuple(metric["grad_norm"] for metric in metrics if metric["kind"] == "train" and "grad_norm" in metric),
        samples,
        used_rate(run["config"]["train"], metrics),
        run["status"] in LIVE,
    )
    findings = [finding for rule in _RULES if (finding := rule(course))]
    kinds = {finding.kind for finding in findings}
    return tuple(finding for finding in findings if not _EXPLAINED_BY.get(finding.kind, set()) & kinds)


def _points(metrics: Sequence[Mapping[str, Any]], kind: str, key: str) -> tuple[tuple[int, float], ...]:
    return tuple(sorted((metric["step"], metric[key]) for metric in metrics if metric["kind"] == kind))


def _exploding(course: Course) -> Finding | None:
    means = [
        (course.own[at][0], sum(loss for _, loss in course.own[at - WINDOW + 1 : at + 1]) / WINDOW)
        for at in range(WINDOW - 1, len(course.own))
    ]
    if not means:
        return None
    step, last = means[-1]
    low_step, low = min(means, key=lambda mean: mean[1])
    if last < EXPLODED * low or last - low < EXPLODED_NATS:
        return None
    return Finding(
        "exploding",
        "loss explodes",
        f"The training loss explodes: its mean over {WINDOW} batches was {low:.2f} at step {low_step} and is "
        f"{last:.2f} at step {step}{_gradient(course)}.",
        f"{'Stop it and try' if course.live else 'Try'} {course.lower_rate}.",
        (low_step, step),
    )


def _gradient(course: Course) -> str:
    return f", with a gradient norm of {course.gradients[-1]:.3g}" if course.gradients else ""


def _rate_too_high(course: Course) -> Finding | None:
    if len(course.held_out) < 2 or course.held_out[0][0] != 0:
        return None
    first, last = course.held_out[0][1], course.held_out[-1][1]
    early = [point for point in course.held_out[1:] if point[0] <= EARLY * course.total_steps]
    step, peak = max(early, key=lambda point: point[1], default=(0, first))
    if peak < LEAP * first:
        return None
    newest = f"; at step {course.held_out[-1][0]} it is {last:.2f}" if course.held_out[-1][0] > step else ""
    return Finding(
        "rate_too_high",
        "learning rate too high",
        f"The learning rate of {course.rate:g} is most likely far too high: the held-out loss leapt from {first:.2f} "
        f"to {peak:.2f} by step {step}{newest}.",
        f"Try {course.lower_rate}.",
        (0, step),
    )


def _overfitting(course: Course) -> Finding | None:
    if len(course.held_out) < 3:
        return None
    step, last = course.held_out[-1]
    low_step, low = min(course.held_out, key=lambda point: point[1])
    fell_first = low < (1 - MOVED) * course.held_out[0][1] or course.held_out[0][0] > 0
    if not fell_first or last < (1 + ROSE_AGAIN) * low:
        return None
    before = course.mean(1, max(low_step, WINDOW))
    after = course.mean(min((low_step + step) // 2, step - WINDOW) + 1, step)
    if before is None or after is None or after > (1 - MOVED) * before:
        return None
    memorizes = course.config["train"].get("recite_rows", 0) > 0
    return Finding(
        "overfitting",
        "held-out loss rises",
        f"It learns its rows by heart: from step {low_step} to {step} the held-out loss rose from {low:.2f} to "
        f"{last:.2f}, while the training loss fell from {before:.2f} to {after:.2f}.",
        "That is what was asked for here; to answer other prompts better, train on more rows, fewer times."
        if memorizes
        else f"{'Stop it and train' if course.live else 'Train'} another run: up to about step {low_step} (or keep its "
        "best checkpoint), or on more rows.",
        (low_step, step),
    )


def _plateau(course: Course) -> Finding | None:
    points = course.held_out
    if len(points) <= FLAT_PROBES + 1:
        return None
    before, recent = points[:-FLAT_PROBES], points[-FLAT_PROBES:]
    best = min(loss for _, loss in before)
    still_flat = best * (1 - FLAT) < min(loss for _, loss in recent) and points[-1][1] < best * (1 + ROSE_AGAIN)
    if not still_flat or best > (1 - MOVED) * points[0][1]:
        return None
    return Finding(
        "plateau",
        "plateau",
        f"The held-out loss falls no more: {best:.3f} by step {before[-1][0]}, {points[-1][1]:.3f} at step "
        f"{points[-1][0]}, {FLAT_PROBES} measurements later.",
        "More of the same steps will hardly help: train on more or other rows, or with a higher rank.",
        (before[-1][0], points[-1][0]),
    )


def _unchanged(course: Course) -> Finding | None:
    norm = course.provenance.get("adapter_norm")
    no_gradients = len(course.gradients) >= WINDOW and not any(course.gradients)
    if not no_gradients and (norm is None or norm >= UNCHANGED):
        return None
    evidence = (
        f"every gradient norm of {len(course.gradients)} steps is 0" if no_gradients else f"the norm of B is {norm:.1g}"
    )
    return Finding(
        "unchanged",
        "adapter unchanged",
        f"The adapter is as it began: {evidence}, so the model answers as base does."
        + (f" {course.warmup}" if course.warming_up else ""),
        LOWER_WARMUP if course.warming_up else "Raise the learning rate, or choose other target modules.",
        (1, course.step),
    )


def _rate_too_low(course: Course) -> Finding | None:
    points = course.held_out
    if len(points) < 3 or not course.late or points[0][0] != 0:
        return None
    if course.warming_up and not course.warmup_too_long:
        # The warm-up has not reached its highest rate yet.
        return None
    first = points[0][1]
    if any(abs(loss / first - 1) >= MOVED for _, loss in points):
        return None
    return Finding(
        "rate_too_low",
        "nothing moves",
        f"Nothing moves: in {points[-1][0]} steps the held-out loss went from {first:.3f} to {points[-1][1]:.3f}. "
        + (course.warmup if course.warming_up else f"The learning rate of {course.rate:g} is most likely too low."),
        LOWER_WARMUP if course.warming_up else higher_rate_advice(course.rate),
        (0, points[-1][0]),
    )


def _never_ends(course: Course) -> Finding | None:
    answers = [sample for sample in course.samples if sample["step"] > 0]
    limit = course.provenance.get("sample_tokens", course.config["train"]["sample_tokens"])
    characters = len((course.provenance.get("fixed_prompt") or {}).get("output", ""))
    expected = course.provenance.get("answer_tokens", characters / CHARACTERS_A_TOKEN)
    if len(answers) < ANSWERS or not course.late or any(sample["ended"] for sample in answers):
        return None
    # Repeated words prove it even where the expected answer may exceed the limit, unless base repeats itself, too.
    base_samples = [sample for sample in course.samples if sample["step"] == 0]
    repeating = all(_repeats(sample["text"]) for sample in answers[-ANSWERS:]) and not any(
        _repeats(sample["text"]) for sample in base_samples
    )
    if expected > limit and not repeating:
        return None
    return Finding(
        "never_ends",
        "no answer ends",
        f"No answer to the fixed prompt ends by itself: {len(answers)} of {len(answers)} up to step "
        f"{answers[-1]['step']} were cut at {limit} tokens{_REPETITION if repeating else ''}.",
        f"Try {course.lower_rate}: base's answer did not go round before it was trained."
        if repeating
        else "See in Format that the rows end with EOS and are not cut; if they do, train on more rows.",
        (answers[0]["step"], answers[-1]["step"]),
    )


def _repeats(text: str) -> bool:
    """Whether the last words are a few words, repeated."""
    words = text.split()[-LAST_WORDS:]
    return len(words) == LAST_WORDS and len(set(words)) <= LAST_WORDS / 2


def _rows_cut(course: Course) -> Finding | None:
    rows = course.provenance.get("rows_given") or 0
    dropped, truncated = course.provenance.get("rows_dropped", 0), course.provenance.get("rows_truncated", 0)
    if not rows or dropped + truncated <= MAX_ROWS * rows:
        return None
    configured = course.config["train"]["max_length"]
    limit = course.provenance.get("max_length", configured)
    by_model = limit < configured
    limited_by = "the model's context of" if by_model else "max_length"
    return Finding(
        "rows_cut",
        "most rows cut",
        f"Most training rows do not fit into {limited_by} {limit}: of {rows}, {dropped} were dropped and {truncated} "
        "cut; a cut row has no EOS to learn.",
        f"{'Choose a model with a longer context' if by_model else 'Raise max_length'}, or leave long rows out with "
        "the length filter.",
        None,
    )


_RULES: tuple[Callable[[Course], Finding | None], ...] = (
    _exploding, _rate_too_high, _unchanged, _rows_cut, _overfitting, _rate_too_low, _plateau, _never_ends,
)  # fmt: skip
_REPETITION = ", the last ones with the same few words again and again"
_EXPLAINED_BY = {"rate_too_low": {"unchanged", "exploding"}, "plateau": {"unchanged", "exploding", "rate_too_high"}}
"""Finding → the findings that explain it, with which it is left out."""


EVERY = 10
"""A run that trains is diagnosed every so many steps, and after each held-out loss."""
REMEMBERED = 32


class FindingsCache:
    """Caches ``diagnose`` for the runs of a store. Thread-safe."""

    def __init__(self, store: RunStore):
        self._store = store
        self._cache: OrderedDict[str, tuple[Any, list[dict[str, Any]]]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run: Run, last: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The run's findings as JSON. ``last``: its newest metric of each kind, part of the cache key."""
        seqs = [last[kind]["seq"] for kind in ("probe", "eval") if kind in last]
        key = (run.status, run.total_steps, run.step // EVERY if run.live else run.step, *seqs)
        with self._lock:
            cached = self._cache.get(run.id)
            if cached is None or cached[0] != key:
                names = ("status", "config", "step", "total_steps")
                state = {**{name: getattr(run, name) for name in names}, "facts": run.provenance}
                samples = [sample for sample in self._store.samples(run.id) if sample["prompt"] == 0]
                findings = diagnose(state, self._store.metrics(run.id), samples)
                cached = (key, [finding.to_dict() for finding in findings])
            self._cache[run.id] = cached
            self._cache.move_to_end(run.id)
            while len(self._cache) > REMEMBERED:
                self._cache.popitem(last=False)
            return cached[1]
