"""Several runs side by side: their results, what they were measured with, and the settings that differ.

Pure functions of run details (``services.runs``, ``show_run``), so that the page and the tests get the same table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..text.plain_text import shortened

RunDetails = Mapping[str, Any]
"""A run as ``show_run`` returns it."""

MEASURED_ON = (
    "model", "data.source", "data.split", "data.columns", "data.filters", "data.test_size", "data.seed",
    "data.unify_newlines",
    "evaluation_rows", "train.probe_rows", "train.max_length", "train.overlong",
)  # fmt: skip
"""Settings that decide which held-out tokens a loss averages: where they differ, losses are not comparable."""


def flat(config: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """All settings by dotted name."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        settings |= flat(value, f"{path}{name}.") if isinstance(value, Mapping) else {path + name: value}
    return settings


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings, by dotted name, that differ between the configurations; None where one lacks a setting."""
    settings = [flat(config) for config in configs]
    names = dict.fromkeys(name for each in settings for name in each)
    values = {name: [each.get(name) for each in settings] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def same_measurement(runs: Sequence[RunDetails]) -> bool:
    """Whether the held-out losses of these runs average the same tokens of one model, so that they are comparable.

    One name may stand for other weights or rows: a file was edited, a copy is of another place, or the rows of an
    import did not come along. So what the runs recorded of both has to be equal, too.
    """
    differences = differing([run["config"] for run in runs])
    # The fingerprint is of all rows, the training rows too.
    recorded = ("weights_sha256",) if "data.limit" in differences else ("weights_sha256", "data_fingerprint")
    known = ({run["facts"].get(name) for run in runs} - {None} for name in recorded)
    return not any(name.startswith(MEASURED_ON) for name in differences) and all(len(each) < 2 for each in known)


def held_out(run: RunDetails) -> list[tuple[int, float]]:
    """(step, loss) on the probe rows; without probe rows, on the evaluation rows."""
    for kind in ("probe", "eval"):
        points = [(metric["step"], metric[f"{kind}_loss"]) for metric in run["metrics"] if metric["kind"] == kind]
        if points:
            return points
    return []


def rows(runs: Sequence[RunDetails]) -> list[list[str]]:
    """A table: a name, then one cell a run. First results, then weights and rows, then the settings that differ.

    Weights and fingerprint are included even where they are equal, because that is worth knowing.
    """
    fixed = [[name, *(of(run) for run in runs)] for name, of in _ALWAYS]
    settings = differing([run["config"] for run in runs])
    return fixed + [[name, *map(_short, values)] for name, values in settings.items()]


def sentences(runs: Sequence[RunDetails], names: Sequence[str]) -> str:
    """A text alternative to plot and table: each run's course, and the run whose held-out loss ended lowest."""
    parts = [f"{name}: {_course(run)}." for name, run in zip(names, runs, strict=True)]
    ends = {name: held_out(run)[-1][1] for name, run in zip(names, runs, strict=True) if held_out(run)}
    if len(ends) > 1 and same_measurement(runs):
        parts.append(f"The held-out loss ended lowest in {min(ends, key=lambda name: ends[name])}.")
    return " ".join(parts)


def _course(run: RunDetails) -> str:
    points = held_out(run)
    parts = [f"held-out loss {points[0][1]:.3f} to {points[-1][1]:.3f} in {points[-1][0]} steps"] if points else []
    parts += [f"tuned BLEU {_bleu(run)}"] if run["evaluations"] else []
    return ", ".join(parts) or "nothing measured yet"


def _state(run: RunDetails) -> str:
    steps = f", step {run['step']} of {run['total_steps']}" if run["total_steps"] else ""
    return run["status"] + steps


def _loss(which: Callable[[list[tuple[int, float]]], tuple[int, float]]) -> Callable[[RunDetails], str]:
    def cell(run: RunDetails) -> str:
        points = held_out(run)
        if not points:
            return "—"
        step, loss = which(points)
        return f"{loss:.3f} at step {step}"

    return cell


def _bleu(run: RunDetails) -> str:
    if not run["evaluations"]:
        return "—"
    newest = run["evaluations"][0]
    return f"{newest['tuned']['bleu']:.1f} (base {newest['base']['bleu']:.1f}) on {newest['rows']} rows"


def _weights(run: RunDetails) -> str:
    provenance = run["facts"]
    if not provenance.get("weights_sha256"):
        return "—"
    return f"{provenance['weights_sha256'][:12]}, {provenance.get('weights_source', 'unknown')}"


_ALWAYS: tuple[tuple[str, Callable[[RunDetails], str]], ...] = (
    ("State", _state),
    ("Held-out loss, lowest", _loss(lambda points: min(points, key=lambda point: point[1]))),
    ("Held-out loss, last", _loss(lambda points: points[-1])),
    ("BLEU of the last evaluation", _bleu),
    ("Training rows", lambda run: str(run["facts"].get("train_rows", "—"))),
    ("Data fingerprint", lambda run: str(run["facts"].get("data_fingerprint", "—"))),
    ("Base weights (sha256, from)", _weights),
)


def _short(value: Any, most: int = 80) -> str:
    text = "—" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shortened(text, most)
