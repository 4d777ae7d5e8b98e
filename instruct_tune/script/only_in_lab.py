"""Settings that a script leaves out, and why."""

from __future__ import annotations

from collections.abc import Iterator

from .code import Line, note

_MEANWHILE = "a look at the model while it trains, which changes no bit of the training"

ONLY_IN_THE_LAB = {
    "train.probe_rows": _MEANWHILE,
    "train.probes": _MEANWHILE,
    "train.sample_tokens": _MEANWHILE,
    "train.sample_every": _MEANWHILE,
    "train.held_out_prompts": _MEANWHILE,
    "train.training_prompts": _MEANWHILE,
    "train.own_prompts": "prompts that a person typed for themselves, which leave the lab with no export",
    "train.general_loss": _MEANWHILE,
    "train.bleu_rows": _MEANWHILE,
    "train.save_minutes": "a checkpoint by the clock, from which the lab resumes; the script starts anew",
}
"""Dotted field → why the script does not have it."""


def left_out() -> Iterator[Line]:
    """The list as a comment of the script."""
    reasons: dict[str, list[str]] = {}
    for name, why in ONLY_IN_THE_LAB.items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        yield from note(f"Only in the lab: {', '.join(names)} ({why}).", *names)
