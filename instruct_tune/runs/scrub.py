"""A training as a series of moments that a person can scrub through: answers, losses, BLEU, learning rate, tokens.

Own prompts are prompts that a person typed. They, and the answers to them, are theirs: ``without_own_prompts`` is the
run as everybody else gets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, TypedDict

from ..config.run_config import HELD_OUT, OWN
from ..store.run import Run


class ScrubPrompt(TypedDict):
    """A fixed prompt; ``kind`` is one of ``run_config.PROMPT_KINDS``. An own prompt has no ``expected`` answer."""

    kind: str
    instruction: str
    input: str
    expected: str | None


class ScrubAnswer(TypedDict):
    """The answer to the prompt of that index; ``ended``: before the token limit."""

    prompt: int
    text: str
    ended: bool


class ScrubStep(TypedDict):
    """What was measured after ``step`` steps; None where it was not. Losses are in nats a supervised token.

    ``held_out_loss`` is that of the probe rows; without probe rows, that of the evaluation rows. ``tokens``: those
    trained on so far.
    """

    step: int
    answers: list[ScrubAnswer]
    held_out_loss: float | None
    general_loss: float | None
    bleu: float | None
    learning_rate: float | None
    tokens: int


class ScrubBest(TypedDict):
    """The first step with the lowest loss, or the highest BLEU; None where it was not measured."""

    held_out_loss: int | None
    general_loss: int | None
    bleu: int | None


class Scrub(TypedDict):
    """All of it, as JSON types. ``base_bleu``: BLEU of base on the same ``bleu_rows`` rows as ``bleu``."""

    prompts: list[ScrubPrompt]
    steps: list[ScrubStep]
    base_bleu: float | None
    bleu_rows: int | None
    best: ScrubBest


def scrub(run: Run, metrics: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]]) -> Scrub:
    """The run's moments, by step: each step with an answer, a held-out loss, a general loss or a BLEU.

    ``metrics`` and ``samples`` as in the store. Answers to prompts that ``run`` does not have are left out.
    """
    prompts = _prompts(run)
    held_out = _values(metrics, "probe", "probe_loss") or _values(metrics, "eval", "eval_loss")
    general, bleu = _values(metrics, "general", "general_loss"), _values(metrics, "bleu", "bleu")
    rates, tokens = _values(metrics, "train", "learning_rate"), _tokens_seen(metrics)
    answers: dict[int, list[ScrubAnswer]] = {}
    for sample in samples:
        if sample["prompt"] < len(prompts):
            answer = ScrubAnswer(prompt=sample["prompt"], text=sample["text"], ended=sample["ended"])
            answers.setdefault(sample["step"], []).append(answer)
    steps = sorted({*answers, *held_out, *general, *bleu})
    return Scrub(
        prompts=prompts,
        steps=[
            ScrubStep(
                step=step,
                answers=answers.get(step, []),
                held_out_loss=held_out.get(step),
                general_loss=general.get(step),
                bleu=bleu.get(step),
                learning_rate=rates.get(step),
                tokens=tokens.get(step, 0),
            )
            for step in steps
        ],
        base_bleu=run.provenance.get("base_bleu"),
        bleu_rows=run.provenance.get("bleu_rows"),
        best=ScrubBest(
            held_out_loss=min(held_out, key=held_out.__getitem__, default=None),
            general_loss=min(general, key=general.__getitem__, default=None),
            bleu=max(bleu, key=bleu.__getitem__, default=None),
        ),
    )


def without_own_prompts(run: Run) -> Run:
    """The run without the prompts that a person typed, in its configuration and its provenance."""
    if not run.config["train"].get("own_prompts"):
        return run
    config = {**run.config, "train": {**run.config["train"], "own_prompts": []}}
    # They are the last ones, so the others keep their numbers.
    prompts = [prompt for prompt in run.provenance.get("prompts", []) if prompt["kind"] != OWN]
    return replace(run, config=config, provenance={**run.provenance, "prompts": prompts})


def _prompts(run: Run) -> list[ScrubPrompt]:
    rows = run.provenance.get("prompts")
    if rows is None:
        # A run from before there were several prompts.
        first = run.provenance.get("fixed_prompt")
        rows = [{"kind": HELD_OUT, **first}] if first else []
    return [
        ScrubPrompt(
            kind=row["kind"],
            instruction=row["instruction"],
            input=row["input"],
            expected=None if row["kind"] == OWN else row["output"],
        )
        for row in rows
    ]


def _values(metrics: Sequence[Mapping[str, Any]], kind: str, name: str) -> dict[int, float]:
    """One value by step, in the order of the steps."""
    return dict(sorted((metric["step"], metric[name]) for metric in metrics if metric["kind"] == kind))


def _tokens_seen(metrics: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    tokens = _values(metrics, "train", "tokens")
    return dict(zip(tokens, accumulate(int(count) for count in tokens.values()), strict=True))
