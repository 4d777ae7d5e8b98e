"""A cost estimate in words: the line beside Start, its details, its warnings. Pure functions, no gradio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...estimate.workload import size
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
    "evaluations": "evaluation loss",
}


def about(seconds: float) -> str:
    """An estimated duration, rounded to two digits: ``132`` → ``2 min 10 s``."""
    if seconds < 1:
        return "1 s"
    digits = 10 ** max(0, len(str(int(seconds))) - 2)
    return duration(round(seconds / digits) * digits)


def cost_sentence(told: Mapping[str, Any]) -> str:
    """Steps, tokens, parameters, memory and time, where known, in one line of markdown."""
    parts = []
    if told["steps"] is not None:
        parts.append(_counted(told["steps"], "step"))
    if told["tokens"] is not None:
        parts.append(_counted(told["tokens"], "token"))
    if trainable := told["trainable_parameters"]:
        share = trainable / (told["parameters"] + trainable)
        parts.append(f"{trainable:,} trainable parameters ({share:.2%})")
    if told["memory"]:
        parts.append(f"about {size(told['memory']['total'])}")
    if told["seconds"]:
        parts.append(f"**about {about(told['seconds']['total'])}** ({plain(told['speed'], 120)})")
    if told["unknown"]:
        parts.append(plain(told["unknown"], 200))
    return " · ".join(parts)


def _counted(number: float, what: str) -> str:
    return f"**{number:,} {what}{'' if number == 1 else 's'}**" if what == "step" else f"{number:,} {what}s"


def cost_details(told: Mapping[str, Any]) -> str:
    """Time, memory and disk by part as a markdown table; a sentence where they are not known yet."""
    if told["tokens"] is None:
        return "Known once model and dataset are on this machine."
    lines = ["| | |", "|---|---|", f"| rows trained on | {told['rows']:,} |", f"| epochs | {told['epochs']:g} |"]
    if told["dropped"] or told["truncated"]:
        lines.append(f"| rows left out, rows cut | {told['dropped']:,}, {told['truncated']:,} |")
    lines.append(f"| tokens, those that carry loss | {told['tokens']:,}, {told['supervised']:,} |")
    if told["seconds"]:
        lines += [
            f"| time: {name} | {about(told['seconds'][part])} |"
            for part, name in _SECONDS.items()
            if told["seconds"][part] >= 0.5
        ]
    if told["memory"]:
        lines += [f"| memory: {name} | {size(told['memory'][part])} |" for part, name in _MEMORY.items()]
        if told["free_memory"] is not None:
            lines.append(f"| memory free on this machine | {size(told['free_memory'])} |")
    lines.append(f"| disk: adapter and checkpoints | {size(told['disk'])} |")
    return "\n".join(lines)


def cost_warnings(told: Mapping[str, Any]) -> str:
    """The estimate's warnings, one paragraph each."""
    return "\n\n".join(f"⚠ {warning}" for warning in told["warnings"])
