"""A cost estimate in words: the line beside Start, its details, its warnings. Pure functions, no gradio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...estimate.resources import size
from ...text.markdown import plain
from ..formatting import duration

_MEMORY = {
    "weights": "base weights",
    "adapter": "adapter",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "activations": "activations of one pass",
    "logits": "logits of one pass",
}
_SECONDS = {
    "load": "reading the weights",
    "training": "training",
    "probes": "held-out loss at the probes",
    "samples": "answers on the way",
    "general": "general loss",
    "evaluations": "evaluation loss",
    "bleu": "BLEU at the evaluations",
}


def about(seconds: float) -> str:
    """An estimated duration, rounded to two digits: ``132`` → ``2 min 10 s``."""
    if seconds < 1:
        return "1 s"
    digits = 10 ** max(0, len(str(int(seconds))) - 2)
    return duration(round(seconds / digits) * digits)


def cost_sentence(cost: Mapping[str, Any]) -> str:
    """Steps, tokens, parameters, memory and time, where known, in one line of markdown."""
    parts = []
    if cost["steps"] is not None:
        parts.append(_counted(cost["steps"], "step"))
    if cost["tokens"] is not None:
        parts.append(_counted(cost["tokens"], "token"))
    if trainable := cost["trainable_parameters"]:
        share = trainable / (cost["parameters"] + trainable)
        parts.append(f"{trainable:,} trainable parameters ({share:.2%})")
    if cost["memory"]:
        parts.append(f"about {size(cost['memory']['total'])}")
    if cost["seconds"]:
        parts.append(f"**about {about(cost['seconds']['total'])}** ({plain(cost['speed'], 120)})")
    if cost.get("gpu_seconds"):
        parts.append(f"uses **about {about(cost['gpu_seconds'])} of your GPU time**")
    if cost["unknown"]:
        parts.append(plain(cost["unknown"], 200))
    return " · ".join(parts)


def _counted(number: float, what: str) -> str:
    return f"**{number:,} {what}{'' if number == 1 else 's'}**" if what == "step" else f"{number:,} {what}s"


def cost_details(cost: Mapping[str, Any]) -> str:
    """Time, memory and disk by part as a markdown table; a sentence where they are not known yet."""
    if cost["tokens"] is None:
        return "Known once model and dataset are on this machine."
    lines = ["| | |", "|---|---|", f"| rows trained on | {cost['rows']:,} |", f"| epochs | {cost['epochs']:g} |"]
    if cost["dropped"] or cost["truncated"]:
        lines.append(f"| rows left out, rows cut | {cost['dropped']:,}, {cost['truncated']:,} |")
    lines.append(f"| tokens, those that carry loss | {cost['tokens']:,}, {cost['supervised']:,} |")
    if cost["seconds"]:
        lines += [
            f"| time: {name} | {about(cost['seconds'][part])} |"
            for part, name in _SECONDS.items()
            if cost["seconds"][part] >= 0.5
        ]
    if cost["memory"]:
        lines += [f"| memory: {name} | {size(cost['memory'][part])} |" for part, name in _MEMORY.items()]
        if cost["free_memory"] is not None:
            lines.append(f"| memory free on this machine | {size(cost['free_memory'])} |")
    lines.append(f"| disk: adapter and checkpoints | {size(cost['disk'])} |")
    return "\n".join(lines)


def cost_warnings(cost: Mapping[str, Any]) -> str:
    """The estimate's warnings, one paragraph each."""
    return "\n\n".join(f"⚠ {warning}" for warning in cost["warnings"])
