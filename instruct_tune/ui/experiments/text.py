"""What the Experiments tab shows of an experiment, as sentences and as the value of its view."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ...experiments.arms import ARMS, BASELINE, SEEDS
from ...experiments.questions import MEASURES, OVER_ARMS, OVER_STEPS, Experiment, Measure
from ...experiments.recorded import Results
from ...experiments.sentences import VERBS, because, effect_sentence, in_sentence

NOTHING = "No experiment is measured whole yet: `python -m benchmarks.experiments` measures them."


def view_value(results: Results, experiment: Experiment) -> dict[str, Any]:
    """The value of the view: the question, what is measured, and what is seen once it is revealed."""
    measure, effect = MEASURES[experiment.measure], results.effect(experiment)
    labels, lines, reference = _plotted(results, experiment)
    mean = [statistics.fmean(values) for values in zip(*lines, strict=True)]
    return {
        "key": experiment.title,
        "question": experiment.question,
        "changed": experiment.changed,
        "drawn": experiment.drawn is not None,
        "name": measure.name,
        "guess": f"Your guess: {in_sentence(measure)} …",
        "unit": measure.unit,
        "digits": measure.digits,
        "labels": labels,
        "choices": [[direction.value, verb] for direction, verb in VERBS.items()],
        "seeds": lines,
        "mean": mean,
        "reference": reference,
        "direction": effect.direction.value,
        "effect": effect_sentence(experiment, effect),
        "because": because(experiment, effect.direction),
        "try": experiment.try_it,
        "description": curve_text(measure, labels, mean, lines),
    }


def _plotted(results: Results, experiment: Experiment) -> tuple[list[str], list[list[float]], dict[str, Any] | None]:
    """The labels of the plot's points, a line a seed, and the line to compare with."""
    if experiment.drawn == OVER_STEPS:
        curves = results.curves(experiment, experiment.arm)
        steps = list(curves[0]["steps"])
        before = results.curves(experiment, experiment.against)
        reference = None
        if list(before[0]["steps"]) == steps:
            points = zip(*(curve["losses"] for curve in before), strict=True)
            reference = {"label": ARMS[experiment.against].label, "values": [statistics.fmean(each) for each in points]}
        return [f"step {step}" for step in steps], [list(curve["losses"]) for curve in curves], reference
    lines = [list(seed) for seed in zip(*(results.values(experiment, arm) for arm in experiment.arms), strict=True)]
    labels = list(experiment.ticks or [ARMS[arm].label for arm in experiment.arms])
    if experiment.drawn == OVER_ARMS:
        # Before the first step, every arm is base.
        base = results.curves(experiment, BASELINE)[0]["losses"][0]
        return ["base", *labels], [[base, *line] for line in lines], None
    return labels, lines, None


def curve_text(measure: Measure, labels: Sequence[str], mean: Sequence[float], lines: Sequence[Sequence[float]]) -> str:
    """The plot in words: at each point the mean over the seeds, and their range."""
    points = []
    for at, label in enumerate(labels):
        seeds = [line[at] for line in lines]
        low, high = (f"{value:.{measure.digits}f}" for value in (min(seeds), max(seeds)))
        spread = "" if low == high else f" ({low} to {high})"
        points.append(f"{label} {mean[at]:.{measure.digits}f}{spread}")
    return f"{measure.name}, {measure.unit}, mean and range of {len(lines)} seeds: {'; '.join(points)}."


def measured_line(results: Results) -> str:
    """On which model, rows and machine all of it was measured. Markdown."""
    about = results.about
    return (
        f"{str(about['model']).rpartition('/')[2]}, bundled rows, {about['held_out_rows']} held-out rows, "
        f"{len(SEEDS)} seeds: each draws its adapter, its training rows and their order. {about['machine']}, "
        f"{about['date']}."
    )


def own_table(results: Results, experiment: Experiment, own: Mapping[str, str]) -> str:
    """Recorded means beside the results of one's own two runs. Markdown. ``own``: arm → a number or a state."""
    measure = MEASURES[experiment.measure]
    lines = ["| | recorded, mean | your rows and model, one run |", "|---|---|---|"]
    for arm in own:
        mean = statistics.fmean(results.values(experiment, arm))
        lines.append(f"| {ARMS[arm].label} | {mean:.{measure.digits}f} | {own[arm]} |")
    lines += ["", f"{measure.name}, {measure.unit}. One run each has no spread: a small difference may be chance."]
    return "\n".join(lines)
