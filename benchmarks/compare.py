"""The lab against stock: training against TRL's trainer and a plain loop, decoding against the pipeline."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping

import torch

from .measure import Row, Spread, alternating, timed
from .ours import Trained, has_bf16_products, lab_answers, lab_trains
from .peak import training_operations
from .stock import pipeline_answers, plain_loop_trains, sft_trainer_trains
from .workload import Subject, Workload

LAB, SFT, LOOP = "lab", "TRL's SFTTrainer", "a plain PyTorch loop"
LAB_32, SFT_16 = "lab, all in float32", "TRL's SFTTrainer with bf16=True"
"""Further ways on a processor where the lab multiplies in bfloat16."""
WANTED = {(8, SFT): "4.5", (2, SFT): "1.6"}


def peak(work: Workload) -> Iterator[Row]:
    """The machine's matrix-multiply peak"""
    yield Row("matrix-multiply peak", Spread.of([work.peak / 1e9]), unit="GFLOP/s")


def training(work: Workload) -> Iterator[Row]:
    """Training with batches of 8 and of 2 against TRL's trainer and a plain loop"""
    for batch in (8, 2):
        yield from training_rows(f"training, batch {batch}", work, work.subject, batch)


def training_rows(what: str, work: Workload, subject: Subject, batch: int) -> Iterator[Row]:
    """Speed and share of the matrix-multiply peak of one epoch, for the lab, TRL and the plain loop."""
    texts, rows = ([row[at] for row in work.training] for at in (0, 1))
    tokens, supervised = sum(len(row.input_ids) for row in rows), sum(row.supervised for row in rows)
    ways = {
        SFT: lambda: sft_trainer_trains(subject, texts, batch),
        LOOP: lambda: plain_loop_trains(subject, rows, batch),
        LAB: lambda: lab_trains(subject, rows, batch),
    }
    if in_bf16 := has_bf16_products(subject):
        ways[LAB_32] = lambda: lab_trains(subject, rows, batch, bf16=False)
        ways[SFT_16] = lambda: sft_trainer_trains(subject, texts, batch, bf16=True)
    epochs_by_way: dict[str, list[Trained]] = alternating(ways, work.setting.repeat)
    seconds = {way: [epoch.seconds for epoch in epochs] for way, epochs in epochs_by_way.items()}
    losses = {way: statistics.fmean(epoch.loss for epoch in epochs) for way, epochs in epochs_by_way.items()}
    for stock in (SFT, LOOP):
        details = {"rows": len(rows), "tokens": tokens, "seconds": seconds, "mean_loss": losses}
        wanted = WANTED.get((batch, stock), "")
        yield speed_row(f"{what}, tokens/s (stock: {stock})", tokens, seconds[LAB], seconds[stock], wanted, details)
    if in_bf16:
        yield speed_row(f"{what}, tokens/s (stock: {SFT_16})", tokens, seconds[LAB], seconds[SFT_16])
        yield speed_row(f"{what}, all in float32, tokens/s (stock: {SFT})", tokens, seconds[LAB_32], seconds[SFT])
    yield speed_row(f"{what}, supervised tokens/s (stock: {SFT})", supervised, seconds[LAB], seconds[SFT])
    operations = training_operations(subject.loaded.base, tokens, supervised)
    # The peak is float32's.
    lab = LAB_32 if in_bf16 else LAB
    shares = {way: Spread.of([100 * operations / s / work.peak for s in seconds[way]]) for way in (lab, SFT, LOOP)}
    yield Row(
        f"{what}, share of the matrix-multiply peak in float32 (stock: {SFT})",
        shares[lab],
        shares[SFT],
        unit="%",
        wanted=wanted_share(subject.device) if batch == 8 else "",
        details={"plain_loop": shares[LOOP].median, "operations": operations},
    )


def wanted_share(device: torch.device) -> str:
    """With AVX-512 the peak is higher, and what is no product takes a larger share of a step."""
    if device.type == "cuda":
        return "40%"
    return "55%" if "AVX512" in torch.backends.cpu.get_cpu_capability() else "65%"


def greedy(work: Workload) -> Iterator[Row]:
    """Greedy decoding against the lesson's pipeline"""
    yield from decoding_rows("greedy", work, 1, "8")


def beams(work: Workload) -> Iterator[Row]:
    """Five beams against the lesson's pipeline"""
    yield from decoding_rows("5 beams", work, 5, "5")


def decoding_rows(name: str, work: Workload, num_beams: int, wanted: str) -> Iterator[Row]:
    """Answers a second. Stock is slow, so it answers only some of the prompts."""
    settings, subject = work.generation(num_beams), work.subject
    # A fresh model: the lab replaces layers of its own with faster ones.
    model, subset = subject.plain().eval(), work.stock_prompts
    measured = alternating(
        {
            "pipeline": lambda: timed(lambda: pipeline_answers(subject, model, subset, settings)),
            LAB: lambda: timed(lambda: lab_answers(subject, work.prompts, settings)),
        },
        work.setting.repeat,
    )
    stock, lab = ([seconds / prompts for seconds, _ in measured[way]] for way, prompts in counts(work).items())
    lab_texts = dict(zip((e.instruction for e in work.prompts), measured[LAB][-1][1], strict=True))
    same = sum(lab_texts[e.instruction] == text for e, text in zip(subset, measured["pipeline"][-1][1], strict=True))
    details = {**counts(work), "same_texts": same}
    what = f"decoding, {name}, answers/s (stock: the lesson's pipeline, {len(subset)} of {len(work.prompts)} prompts)"
    yield speed_row(what, 1, lab, stock, wanted, details)


def counts(work: Workload) -> dict[str, int]:
    """Side → number of prompts it answers."""
    return {"pipeline": len(work.stock_prompts), LAB: len(work.prompts)}


def speed_row(
    what: str, amount: int, lab: list[float], stock: list[float], wanted: str = "", details: Mapping | None = None
) -> Row:
    """A row of ``amount`` a second on both sides, from the seconds of each repetition."""
    return Row(
        what,
        _speed(amount, lab),
        _speed(amount, stock),
        Spread.ratio(stock, lab),
        wanted=wanted,
        details=details or {},
    )


def _speed(amount: int, seconds: list[float]) -> Spread:
    spread = Spread.of(seconds)
    return Spread(amount / spread.median, amount / spread.high, amount / spread.low)
