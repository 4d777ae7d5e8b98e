"""A run in words: announcements, the window's title, status, checkpoints, answers, configuration.

Pure functions, no gradio. Text inside markdown that is not the lab's own is escaped with ``plain``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..runs.naming import nearest_preset
from ..store.run import LIVE
from ..text.markdown import plain
from ..util.progress import megabytes
from .formatting import duration

TITLE = "Instruction-Tuning Lab"
_ENDED = {"finished": "done", "stopped": "stopped", "failed": "failed", "interrupted": "interrupted"}


def share_done(status: Mapping[str, Any]) -> float:
    """The share of steps done, from 0 to 1; 0 while their number is not known yet."""
    return status["step"] / status["total_steps"] if status["total_steps"] else 0.0


def announcement(status: Mapping[str, Any]) -> str:
    """Text for screen readers; it changes only with the phase and at each tenth of the steps."""
    if status["status"] not in LIVE:
        return f"The run is {_ENDED.get(status['status'], status['status'])}."
    tenths = int(10 * share_done(status))
    return f"{status['phase'] or status['status']}, {10 * tenths}% done"


def window_title(status: Mapping[str, Any], was_live: bool) -> str:
    """Progress before the page's name; how the run ended only if this window saw it live."""
    if status["status"] in LIVE:
        return f"{int(100 * share_done(status))}% · {TITLE}"
    return f"{_ENDED.get(status['status'], status['status'])} · {TITLE}" if was_live else TITLE


def loss_sentence(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The loss plot in words: first, lowest and last held-out loss, first and last training loss."""
    sentences = []
    for kind, key, name in (("probe", "probe_loss", "Held-out loss"), ("eval", "eval_loss", "Evaluation loss")):
        points = [(m["step"], m[key]) for m in metrics if m["kind"] == kind]
        if points:
            sentences.append(_course(name, points))
    steps = [(m["step"], m["loss"]) for m in metrics if m["kind"] == "train"]
    if steps:
        sentences.append(_course("Training loss", [steps[0], steps[-1]]))
    return " ".join(sentences)


def _course(name: str, points: Sequence[tuple[int, float]]) -> str:
    lowest = min(points, key=lambda point: point[1])
    named = list(dict.fromkeys((points[0], lowest, points[-1])))
    parts = [f"{loss:.3f} at step {step}" + (" (lowest)" if len(named) == 3 and (step, loss) == lowest else "")
             for step, loss in named]  # fmt: skip
    return f"{name} {', '.join(parts)}."


def findings_text(findings: Sequence[Mapping[str, Any]]) -> str:
    """The findings as a markdown list; empty if there are none."""
    if not findings:
        return ""
    items = (f"- {plain(finding['sentence'], 600)} **{plain(finding['advice'], 300)}**" for finding in findings)
    return "\n".join(["**What to look at**", "", *items])


def checkpoint_sentence(checkpoints: Mapping[str, Any]) -> str:
    """Last checkpoint, best evaluation, and the step of the kept adapter; empty while there is none."""
    parts = []
    if last := checkpoints["last"]:
        loss = f" (evaluation loss {last['eval_loss']:.3f})" if last["eval_loss"] is not None else ""
        parts.append(f"Last checkpoint: step {last['step']}{loss}")
    if best := checkpoints["best"]:
        unsaved = "" if best["saved"] else ", without a checkpoint"
        parts.append(f"Best: step {best['step']} (evaluation loss {best['eval_loss']:.3f}{unsaved})")
    if checkpoints["kept"] is not None:
        parts.append(f"Adapter kept: step {checkpoints['kept']}")
    return " · ".join(parts)


FAILURE_KINDS = {
    "memory": "out of memory",
    "data": "the data",
    "unreachable": "not reachable",
    "model": "the model",
    "diverged": "not a finite number, or nothing learned",
    "disk": "disk full",
    "gpu": "no GPU",
    "store": "the data folder",
    "settings": "settings",
    "bug": "a fault of the lab",
}
"""Names of the failure kinds on the page; kinds of other versions are shown as they are."""


def failure_sentence(run: Mapping[str, Any]) -> str:
    """Why a run failed and what to do, as markdown; empty if it did not fail."""
    if run["status"] != "failed":
        return ""
    kind = run["error_kind"] or "bug"
    return f"**Failed: {FAILURE_KINDS.get(kind, plain(kind))}.** {plain(run['message'], 600)}"


def changes_text(changes: Sequence[Mapping[str, Any]], last: int = 200) -> str:
    """Every change of status and phase in words, newest first."""
    return "\n".join(
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(change['time']))}  {change['status']}"
        + (f", {change['phase']}" if change["phase"] else "")
        + f" (step {change['step']})"
        + (f": {change['reason']}" if change["reason"] else "")
        for change in reversed(changes[-last:])
    )


def configuration_sentence(config: Mapping[str, Any]) -> str:
    """The preset nearest to a run's configuration, and the settings that differ from it, as markdown."""
    nearest, changed = nearest_preset(config)
    if not changed:
        return f"Preset **{nearest}**, nothing changed."
    parts = [f"{plain(name)} **{plain(_short(value))}**" for name, value in changed.items()]
    return f"Preset **{nearest}** with " + ", ".join(parts) + "."


def _short(value: Any, most: int = 60) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def run_sentence(status: Mapping[str, Any]) -> str:
    """A run's status and progress in one line of markdown."""
    train = status["metrics"].get("train")
    part = f" ({status['part']['done']} of {status['part']['total']})" if status["part"] else ""
    parts = [f"**{status['status']}**" + (f" · {status['phase']}{part}" if status["phase"] else "")]
    if download := status["download"]:
        progress = megabytes(download["done"], download["total"], download["speed"])
        parts.append(f"{plain(download['phase'])}: {progress}")
    if status["total_steps"]:
        parts.append(f"step {status['step']} of {status['total_steps']}")
    if train:
        parts.append(f"{train['tokens_per_second']:,.0f} tokens/s")
        parts.append(f"loss {train['loss']:.3f}")
    if probe := status["metrics"].get("probe"):
        parts.append(f"held-out loss {probe['probe_loss']:.3f}")
    if status["eta_seconds"] is not None:
        parts.append(f"{duration(status['eta_seconds'])} left")
    if status["place"]:
        parts.append(line_sentence(status).rstrip("."))
    if status["private"]:
        parts.append("private, so others do not see it")
    if status["recorded"]:
        parts.append(status["recorded"])
    if status["message"] and status["message"] != f"Finished {status['step']} steps.":
        parts.append(plain(status["message"], 400))
    return " · ".join(parts)


def line_sentence(waiting: Mapping[str, Any]) -> str:
    """The place in the queue, and the estimated wait."""
    ahead = waiting["place"] - 1
    text = "Next in line" if not ahead else f"Waiting in line, {ahead} before it"
    seconds = waiting["starts_in_seconds"]
    return text + (f"; begins in about {duration(seconds)}." if seconds is not None else ".")


def events_text(events: Sequence[Mapping[str, Any]], last: int = 12) -> str:
    """The last events in words, newest first."""
    return "\n".join(
        f"{time.strftime('%H:%M:%S', time.localtime(event['time']))}  {event['text']}"
        for event in reversed(events[-last:])
    )


def verdict_text(verdict: Mapping[str, Any] | None) -> str:
    """A verdict in one line of markdown; empty where there is none."""
    if not verdict:
        return ""
    return f"**What the numbers say:** {_prose(verdict['sentence'])} **{_prose(verdict['advice'])}**"


def _prose(text: str) -> str:
    """The lab's own sentence, escaped so that markdown leaves its words and numbers unchanged."""
    return plain(text, 600)
