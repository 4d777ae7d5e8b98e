"""What is made of the results of ``benchmarks.experiments``: the asset, the table of docs/experiments.md, the state."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instruct_tune.config.run_config import DEFAULT_MODEL
from instruct_tune.experiments.arms import ARMS, HELD_OUT_ROWS, SEEDS
from instruct_tune.experiments.questions import MEASURES, Experiment
from instruct_tune.experiments.recorded import ASSET, Results, recorded, shown
from instruct_tune.experiments.sentences import because, effect_sentence

from .experiments import PROBES, result_file, write_result
from .memory import ROOT

DOC = ROOT / "docs" / "experiments.md"
BEGIN, END = "<!-- The table of python -m benchmarks.experiments --write -->", "<!-- Its end -->"
SAME = ("machine", "weights_sha256", "data", "versions")
"""What all results have in common; those of two machines or two versions make no pairs."""


def state(work: Path) -> str:
    """What is measured, a line an arm."""
    lines = []
    for arm in ARMS:
        done = [seed for seed in SEEDS if result_file(work, arm, seed).is_file()]
        lines.append(f"{arm}: {len(done)} of {len(SEEDS)} seeds")
    return "\n".join(lines)


def restore(work: Path, asset: Path = ASSET) -> str:
    """Write the asset's results into ``work`` where they are missing, so that measuring goes on after its loss."""
    results, restored = recorded(asset), 0
    for arm, values in results.arms.items():
        for number, seed in enumerate(SEEDS):
            file = result_file(work, arm, seed)
            if not file.is_file():
                write_result(file, _restored(results, arm, seed, values, number))
                restored += 1
    return f"{restored} results restored"


def _restored(results: Results, arm: str, seed: int, values: Mapping[str, Any], number: int) -> dict[str, Any]:
    curves = {name: each[number] for name, each in values["curves"].items()}
    return {
        "arm": arm,
        "seed": seed,
        "measures": {name: each[number] for name, each in values["measures"].items()},
        "curves": {name: list(zip(curve["steps"], curve["losses"], strict=True)) for name, curve in curves.items()},
        "seconds": values["seconds"][number],
        **{name: results.about[name] for name in SAME},
    }


def write(work: Path, asset: Path = ASSET, doc: Path = DOC) -> str:
    """Write the asset of the arms that are measured with all seeds, and the table; returns what there is of them."""
    content = collected(work)
    asset.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    results = recorded(asset)
    text = doc.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    doc.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")
    return f"{len(content['arms'])} arms, {len(shown(results))} experiments, {asset.stat().st_size:,} bytes"


def collected(work: Path) -> dict[str, Any]:
    """The asset's JSON."""
    arms, common = {}, None
    for arm in ARMS:
        files = [result_file(work, arm, seed) for seed in SEEDS]
        if not all(file.is_file() for file in files):
            continue
        results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        for result in results:
            conditions = {name: result[name] for name in SAME}
            common = common or conditions
            if conditions != common:
                raise SystemExit(f"{arm} with seed {result['seed']} was measured on {conditions}, others on {common}.")
        arms[arm] = _arm(results)
    newest = max((file.stat().st_mtime for file in work.glob("results/*.json")), default=0.0)
    date = datetime.date.fromtimestamp(newest).isoformat()
    about = {"model": DEFAULT_MODEL, "date": date, "held_out_rows": HELD_OUT_ROWS, **(common or {})}
    return {"about": about, "arms": arms}


def _arm(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = results[0]
    return {
        "seconds": [result["seconds"] for result in results],
        "measures": {name: [round(each["measures"][name], 4) for each in results] for name in first["measures"]},
        "curves": {name: [_curve(each["curves"][name]) for each in results] for name in first["curves"]},
    }


def _curve(points: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    assert len(points) <= PROBES + 1, "a curve is short enough to be stored whole"
    return {"steps": [point[0] for point in points], "losses": [point[1] for point in points]}


def table(results: Results) -> str:
    """The experiments as a Markdown table, and under it what each sentence of the page claims."""
    lines = [
        "| question | measure | effect, 95% interval | spread of the seeds | minutes a seed |",
        "|---|---|---|---|---|",
        *(_line(results, experiment) for experiment in shown(results)),
    ]
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
    end = f"Machine: {about.get('machine', 'none')}, shared with other work; {about['date']}; {versions}."
    return "\n".join([*lines, "", end])


def _line(results: Results, experiment: Experiment) -> str:
    measure, effect = MEASURES[experiment.measure], results.effect(experiment)
    spread = "; ".join(
        f"{ARMS[arm].label} {_mean(values, measure.digits)}"
        for arm in experiment.arms
        for values in [results.values(experiment, arm)]
    )
    cells = [
        experiment.question,
        f"{measure.name.removeprefix('The ')}, {measure.unit}",
        f"{effect_sentence(experiment, effect)} {because(experiment, effect.direction)}",
        spread,
        f"{results.minutes(experiment):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{statistics.fmean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
