"""Estimate a run's cost before it starts: by counting where possible, else by measurement.

Steps, tokens and passes are counted on the tokenised rows, in the run's own order. Seconds and activation bytes come
from a ``Speed``, measured on this machine (see ``calibrate``), at the pace of an earlier run. Torch is imported only
to count rows.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..config.run_config import RunConfig, TrainSettings
from ..pretrained.context_length import NO_LIMIT
from ..text.plain_text import counted
from ..tokenization.encode import no_row_fits

T = TypeVar("T")

FLOAT32 = 4
ROWS_COUNTED = 200_000
"""The most rows that are counted one by one, over all epochs; the rest is extrapolated."""

OPTIMIZER_BYTES = {"adamw_torch": 8, "adamw_torch_fused": 8, "sgd": 0, "adafactor": 0}
"""Bytes of optimizer state per trainable parameter (Adafactor's rows and columns are negligible)."""

READ_SPEED = 2e9
"""Bytes of weights read per second, as from a solid-state disk."""

ROWS_TOGETHER = 32
"""How many rows an evaluation answers at a time, as in ``evaluation.predict``."""

OF_SEVERAL = 48
"""The most tokens of an answer where several prompts are answered, as in ``training.fixed_prompts``."""

HOUR = 3600.0


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
    from ..batching.packing import EpochSampler

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


@dataclass(frozen=True)
class Architecture:
    """Sizes of a model that its configuration determines, without its weights.

    ``adapted``: sum of inputs and outputs of all layers with LoRA; times the rank, it is the adapter's size.
    ``itemsize``: bytes per base weight in memory. ``recomputes``: gradient checkpointing is supported.
    ``context``: the most tokens that the model reads. ``paths``: the modules with LoRA.
    """

    parameters: int
    adapted: int
    itemsize: int
    recomputes: bool = True
    context: int = NO_LIMIT
    paths: tuple[str, ...] = ()

    def trainable(self, r: int) -> int:
        """Return the parameters of a LoRA of rank ``r``: r × (inputs + outputs) for each layer (Hu et al. 2021)."""
        return r * self.adapted


@dataclass(frozen=True)
class Speed:
    """Measured cost of training an architecture on this machine.

    ``a_token``: seconds per token of training (forward and backward). ``forward``: share of it that a forward pass
    without gradients takes. ``new_token``: seconds per further token of an answer. ``token_bytes`` and
    ``supervised_bytes``: bytes that a pass keeps for backward, per token and per supervised position. ``crowded``:
    other programs used the processors meanwhile, so the seconds are too high for a quiet machine.
    """

    a_token: float
    forward: float
    new_token: float
    token_bytes: float
    supervised_bytes: float
    crowded: bool = False


@dataclass(frozen=True)
class Effort:
    """Work in the units that a ``Speed`` times: tokens trained on, read without gradients, decoded one by one."""

    trained: float = 0
    read: float = 0
    decoded: float = 0

    def __add__(self, other: Effort) -> Effort:
        return Effort(self.trained + other.trained, self.read + other.read, self.decoded + other.decoded)

    def times(self, factor: float) -> Effort:
        return Effort(self.trained * factor, self.read * factor, self.decoded * factor)

    def seconds(self, speed: Speed) -> float:
        return (self.trained + self.read * speed.forward) * speed.a_token + self.decoded * speed.new_token


@dataclass(frozen=True)
class Memory:
    """Bytes at a run's peak, in addition to the lab's own process."""

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True)
class Seconds:
    """Seconds of a run, by activity.

    What it records so that it can be scrubbed through: ``samples`` (answers at the probes, and of the memorization
    check), ``general`` (loss on the general text) and ``bleu`` (answers at the evaluations, and base's).
    """

    load: float
    training: float
    probes: float
    samples: float
    general: float
    evaluations: float
    bleu: float

    @property
    def total(self) -> float:
        return sum(dataclasses.astuple(self))


def memory(config: RunConfig, work: Workload, architecture: Architecture, speed: Speed) -> Memory:
    """Return the peak, which is in the backward half of the largest pass. Adapters are always float32."""
    trainable = architecture.trainable(config.lora.r)
    return Memory(
        weights=architecture.parameters * architecture.itemsize,
        adapter=trainable * FLOAT32,
        gradients=trainable * FLOAT32,
        optimizer=trainable * OPTIMIZER_BYTES[config.train.optim],
        activations=round(work.largest.tokens * speed.token_bytes),
        logits=round(work.largest.supervised * speed.supervised_bytes),
    )


def disk(config: RunConfig, work: Workload, trainable: int) -> int:
    """Return the bytes of the adapter and of the retained checkpoints, each with its optimizer state."""
    adapter = trainable * FLOAT32
    limit = config.train.save_total_limit
    kept = work.checkpoints if limit is None else min(work.checkpoints, limit)
    return adapter + kept * (adapter + trainable * OPTIMIZER_BYTES[config.train.optim])


def seconds(config: RunConfig, work: Workload, speed: Speed, weights: int, pace: float = 1.0) -> Seconds:
    """Estimate the run's duration.

    ``weights``: bytes still to read, 0 if the model is in memory. ``pace``: how many times as long as measured an
    earlier run's whole work took here.
    """
    parts = {name: pace * effort.seconds(speed) for name, effort in efforts(config, work).items()}
    return Seconds(
        load=weights / READ_SPEED,
        training=parts["training"],
        probes=parts["probes"],
        samples=parts["samples"] + parts["memorized"],
        general=parts["general"],
        evaluations=parts["evaluations"],
        bleu=parts["bleu"],
    )


def efforts(config: RunConfig, work: Workload) -> dict[str, Effort]:
    """The work of a whole run, by activity as in ``Seconds``; ``memorized`` is that of the memorization check."""
    recorded = work.recorded
    limit = config.train.sample_tokens if len(recorded.prompts) == 1 else min(config.train.sample_tokens, OF_SEVERAL)
    a_probe = _answers(len(recorded.prompts), limit, sum(recorded.prompts[1:])) if recorded.prompts else Effort()
    recited = work.train.rows[: config.train.recite_rows]
    return {
        "training": Effort(trained=work.training.tokens),
        "probes": Effort(read=work.probes * work.probe_tokens),
        "samples": a_probe.times(work.samples),
        "memorized": _answers(len(recited), max((supervised for _, supervised in recited), default=0)),
        "general": Effort(read=work.samples * recorded.general_tokens),
        "evaluations": Effort(read=work.evaluations * work.evaluation_tokens),
        "bleu": _bleu(config, recorded.bleu_rows).times(work.evaluations + 1) if work.evaluations else Effort(),
    }


def _answers(rows: int, tokens: int, prompts: int = 0) -> Effort:
    """A batch: one answer of ``tokens`` tokens, and a forward pass of those of the other rows."""
    return Effort(read=max(0, rows - 1) * tokens + prompts, decoded=tokens)


def _bleu(config: RunConfig, rows: int) -> Effort:
    """Answering ``rows`` rows in batches, each beam counted as a row, as if no answer ended by itself."""
    generation = config.generation
    tokens = generation.max_new_tokens if generation.max_length is None else generation.max_length
    batches = [min(ROWS_TOGETHER, rows - start) for start in range(0, rows, ROWS_TOGETHER)]
    return sum((_answers(batch * generation.num_beams, tokens or 0) for batch in batches), start=Effort())


def warnings(
    work: Workload, shortage: str | None, total_seconds: float | None, schedule: Sequence[str] = ()
) -> list[str]:
    """Return the warnings to show beside Start, worst first.

    ``shortage``: the memory warning. ``schedule``: result of ``learning_rate.schedule_warnings``.
    """
    messages = [shortage] if shortage else []
    messages.extend(schedule)
    if total_seconds is not None and total_seconds > HOUR:
        messages.append("It takes more than an hour here: fewer rows show whether the settings work.")
    if work.train.dropped:
        messages.append(f"{counted(work.train.dropped, 'row')} longer than the longest row allowed will be left out.")
    if work.train.truncated:
        messages.append(f"{counted(work.train.truncated, 'row')} will be cut, and a cut answer does not learn to end.")
    return messages


def size(count: float) -> str:
    """Format bytes for display, from 1 MB on with at least two significant digits: ``1_400_000_000`` → ``1.4 GB``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}" if count < 10 * scale else f"{count / scale:,.0f} {unit}"
    return f"{max(count, 0) / 1e3:.0f} kB"


def cost_json(
    config: RunConfig, work: Workload, architecture: Architecture, peak: Memory | None, time: Seconds | None
) -> dict[str, Any]:
    """Return all estimates as JSON types; unknown values are None."""
    trainable = architecture.trainable(config.lora.r)
    return {
        "rows": len(work.train.rows),
        "dropped": work.train.dropped,
        "truncated": work.train.truncated,
        "steps": work.steps,
        "epochs": work.epochs,
        "tokens": round(work.training.tokens),
        "supervised": round(work.training.supervised),
        "parameters": architecture.parameters,
        "trainable_parameters": trainable,
        "memory": {**dataclasses.asdict(peak), "total": peak.total} if peak else None,
        "disk": disk(config, work, trainable),
        "seconds": {**dataclasses.asdict(time), "total": time.total} if time else None,
    }
