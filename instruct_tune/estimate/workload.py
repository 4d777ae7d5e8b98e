"""Count a run's work before it starts: steps, tokens and passes of its tokenised rows, in the run's own order.

Torch is imported only to count rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..config.run_config import RunConfig, TrainSettings
from ..pretrained.context_length import NO_LIMIT
from ..tokenization.encode import no_row_fits

T = TypeVar("T")

ROWS_COUNTED = 200_000
"""The most rows that are counted one by one, over all epochs; the rest is extrapolated."""


@dataclass(frozen=True)
class RowLength:
    """Length of a whole row before any cutting, and of its prompt, in tokens."""

    tokens: int
    prompt: int


@dataclass(frozen=True)
class Fitted:
    """Rows to train on, each (tokens, supervised tokens), and the numbers of rows dropped or cut."""

    rows: tuple[tuple[int, int], ...]
    dropped: int
    truncated: int


def fits(lengths: Sequence[RowLength], max_length: int, overlong: str, context: int = NO_LIMIT) -> list[int]:
    """Return the indices of the rows that ``tokenization.encode.tokenize_rows`` keeps.

    ``context``: the most tokens that the model reads. Raises DataError if no row is left.
    """
    kept = _indices_that_fit(lengths, min(max_length, context), overlong)
    if not kept:
        raise no_row_fits(max((row.tokens for row in lengths), default=0), max_length, context)
    return kept


def _indices_that_fit(lengths: Sequence[RowLength], limit: int, overlong: str) -> list[int]:
    return [
        number
        for number, row in enumerate(lengths)
        if min(row.tokens, limit) > row.prompt and not (overlong == "drop" and row.tokens > limit)
    ]


def fitted(lengths: Sequence[RowLength], max_length: int, overlong: str, context: int = NO_LIMIT) -> Fitted:
    """Return the lengths of rows after ``tokenization.encode.tokenize_rows``. Raises DataError if no row is left."""
    kept = [lengths[number] for number in fits(lengths, max_length, overlong, context)]
    limit = min(max_length, context)
    rows = tuple((tokens := min(row.tokens, limit), tokens - row.prompt) for row in kept)
    return Fitted(rows, len(lengths) - len(kept), sum(row.tokens > limit for row in kept))


@dataclass(frozen=True)
class Work:
    """Numbers of forward passes, of their tokens, and of positions that carry loss."""

    passes: float = 0
    tokens: float = 0
    supervised: float = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.passes + other.passes, self.tokens + other.tokens, self.supervised + other.supervised)

    def times(self, factor: float) -> Work:
        return Work(self.passes * factor, self.tokens * factor, self.supervised * factor)


@dataclass(frozen=True)
class Recorded:
    """What a run records besides its losses on held-out rows.

    ``prompts``: the tokens of each fixed prompt, all answered together. ``general_tokens``: tokens of the general
    text, measured with them. ``bleu_rows``: rows answered at each evaluation, and once by base.
    """

    prompts: tuple[int, ...] = ()
    general_tokens: int = 0
    bleu_rows: int = 0


@dataclass(frozen=True)
class Workload:
    """The counted work of a run. ``largest``: the most tokens, and the most supervised tokens, of one pass.

    ``probe_tokens`` and ``evaluation_tokens``: tokens of the held-out rows, at each of ``probes`` and ``evaluations``;
    ``recorded``: what else is measured then, at ``samples`` of the probes.
    """

    train: Fitted
    steps: int
    epochs: float
    training: Work
    largest: Work
    probe_tokens: int
    probes: int
    samples: int
    evaluation_tokens: int
    evaluations: int
    checkpoints: int
    recorded: Recorded = Recorded()


def count(
    config: RunConfig,
    train: Sequence[RowLength],
    evaluation: Sequence[RowLength],
    probe: Sequence[RowLength],
    budget: int,
    context: int = NO_LIMIT,
    recorded: Recorded = Recorded(),
) -> Workload:
    """Count a run's work from its rows' lengths.

    ``budget``: the most tokens per pass (``TOKENS_PER_PASS``). ``context``: the most tokens that the model reads.
    ``recorded``: what it records besides.
    Raises DataError if no training row fits. Held-out rows that do not fit are left out.
    """
    settings = config.train
    rows = fitted(train, settings.max_length, settings.overlong, context)
    limit = min(settings.max_length, context)
    evaluation_tokens, probe_tokens = (
        sum(min(part[at].tokens, limit) for at in _indices_that_fit(part, limit, settings.overlong))
        for part in (evaluation, probe)
    )
    steps, epochs = step_count(len(rows.rows), settings)
    training, largest = _training_work(rows.rows, settings, steps, budget)
    evaluations = _count_events(settings.eval_strategy, settings.eval_steps, steps, epochs)
    # At step 0 and at even intervals, limited by the steps of a short run.
    probes = min(settings.probes, steps) + 1 if settings.probes else 0
    return Workload(
        train=rows,
        steps=steps,
        epochs=epochs,
        training=training,
        largest=largest,
        evaluation_tokens=evaluation_tokens,
        evaluations=evaluations if evaluation_tokens else 0,
        probe_tokens=probe_tokens,
        probes=probes,
        samples=math.ceil((probes - 1) / settings.sample_every) + 1 if probes else 0,
        checkpoints=_count_events(settings.save_strategy, settings.save_steps, steps, epochs),
        recorded=recorded,
    )


def step_count(rows: int, settings: TrainSettings) -> tuple[int, float]:
    """Return (optimizer steps, epochs) as transformers' Trainer counts them: a short last batch is a batch."""
    batches = math.ceil(rows / settings.per_device_train_batch_size)
    a_epoch = max(1, math.ceil(batches / settings.gradient_accumulation_steps))
    steps = settings.max_steps if settings.max_steps > 0 else math.ceil(settings.num_train_epochs * a_epoch)
    return steps, steps / a_epoch


def _count_events(strategy: str, every: int | None, steps: int, epochs: float) -> int:
    """Count events that occur each epoch, or every ``every`` steps and after the last one."""
    if strategy == "no":
        return 0
    return math.ceil(epochs - 1e-9) if strategy == "epoch" else math.ceil(steps / (every or steps))


def _training_work(
    rows: Sequence[tuple[int, int]], settings: TrainSettings, steps: int, budget: int
) -> tuple[Work, Work]:
    """Return the work of all training passes, and the largest pass."""
    done, largest, seen, counted = Work(), Work(), 0, 0
    for batch in _batches(rows, settings, steps):
        for tokens, supervised in _passes(batch, budget):
            done += Work(1, tokens, supervised)
            largest = Work(1, max(largest.tokens, tokens), max(largest.supervised, supervised))
        seen, counted = seen + len(batch), counted + 1
        if seen >= ROWS_COUNTED:
            return done.times(_all_batches(len(rows), settings, steps) / counted), largest
    return done, largest


def _all_batches(rows: int, settings: TrainSettings, steps: int) -> float:
    """Return the number of micro-batches in ``steps`` optimizer steps; an epoch's last step may have fewer."""
    batches = math.ceil(rows / settings.per_device_train_batch_size)
    a_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    return steps / a_epoch * batches


def _batches(rows: Sequence[T], settings: TrainSettings, steps: int) -> Iterator[list[T]]:
    """Yield the micro-batches of ``steps`` optimizer steps in order."""
    left, epoch = steps, 0
    while left:
        of_an_epoch = micro_batches(rows, settings, epoch)
        yield from itertools.chain.from_iterable(of_an_epoch[:left])
        left, epoch = left - min(left, len(of_an_epoch)), epoch + 1


def micro_batches(rows: Sequence[T], settings: TrainSettings, epoch: int) -> list[list[list[T]]]:
    """Return an epoch's optimizer steps, each a list of micro-batches of rows, in the order of the run's sampler."""
    from ..batching.sampler import EpochSampler

    sampler = EpochSampler(len(rows), settings.seed)
    sampler.set_epoch(epoch)
    order = list(sampler)
    size, accumulation = settings.per_device_train_batch_size, settings.gradient_accumulation_steps
    batches = [[rows[index] for index in order[at : at + size]] for at in range(0, len(order), size)]
    return [batches[at : at + accumulation] for at in range(0, len(batches), accumulation)]


def _passes(batch: Sequence[tuple[int, int]], budget: int) -> Iterator[tuple[int, int]]:
    """Yield (tokens, supervised) per pass: whole rows in order, grouped as by ``batching.packing.pack_rows``."""
    tokens = supervised = 0
    for length, answer in batch:
        if tokens and tokens + length > budget:
            yield tokens, supervised
            tokens = supervised = 0
        tokens, supervised = tokens + length, supervised + answer
    yield tokens, supervised
