"""Estimate the seconds, the memory and the disk space that a counted workload takes.

Seconds and activation bytes come from a ``Speed``, measured on this machine (see ``calibrate``), at the pace of an
earlier run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..config.run_config import RunConfig
from ..pretrained.context_length import NO_LIMIT
from ..text.plain_text import counted
from .workload import Workload

FLOAT32 = 4
OPTIMIZER_BYTES = {"adamw_torch": 8, "adamw_torch_fused": 8, "sgd": 0, "adafactor": 0}
"""Bytes of optimizer state per trainable parameter (Adafactor's rows and columns are negligible)."""

READ_SPEED = 2e9
"""Bytes of weights read per second, as from a solid-state disk."""

ROWS_TOGETHER = 32
"""How many rows an evaluation answers at a time: a copy of ``evaluation.predict``, which is in a layer above."""

OF_SEVERAL = 48
"""The most tokens of an answer where several prompts are answered: a copy of ``training.fixed_prompts``."""

HOUR = 3600.0


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
