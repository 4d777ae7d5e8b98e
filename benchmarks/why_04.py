"""``python -m benchmarks.why_04 --dataset rows.json``: what the lesson's two BLEU numbers hang on, measured here.

One ``quick`` run on Code Alpaca rows, then the same base and tuned model answer as in the lesson, with one
thing changed at a time: beams, the limit, how many rows. Only numbers are written, no text of a row. What the data
folder holds is not measured again, and an evaluation that was broken off goes on: with ``--data-dir`` this can be
run in pieces. Minutes on two cores; run nothing else beside it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.evaluation.lesson_scores import ASSET
from instruct_tune.lab import Lab

from . import machine

LESSON_CALL = {"max_new_tokens": None, "max_length": 50, "num_beams": 5, "early_stopping": True}
ROOM = {"max_new_tokens": 96, "max_length": None}
GREEDY = {"num_beams": 1, "early_stopping": False}
# Name → (held-out rows, changes to the lesson's call).
PLAN: dict[str, tuple[int, dict[str, Any]]] = {
    "lesson_call": (40, {}),
    "no_beams": (40, GREEDY),
    "room": (40, ROOM),
    "room_no_beams": (40, ROOM | GREEDY),
    "three_rows": (3, {}),
}
SIDE = ("ended", "empty", "mean_tokens")


def main() -> None:
    """Measure what the data folder does not hold yet, then write the asset."""
    parser = argparse.ArgumentParser("python -m benchmarks.why_04", description=__doc__)
    parser.add_argument(
        "--dataset", required=True, metavar="ROWS", help="a file of Code Alpaca rows, or codealpaca-20k"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="keeps the run and what was measured (default: nowhere)")
    parser.add_argument("--to", type=Path, default=ASSET, metavar="FILE.json")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("instruct_tune").setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(args.data_dir or folder))
        try:
            asset = measure(lab, RunConfig.from_dict({"data": {"source": args.dataset}}, "quick"))
        finally:
            lab.close()
    args.to.write_text(json.dumps(asset, indent=2) + "\n", encoding="utf-8")
    for one in asset["measured"]:
        print(f"{one['name']}: base {one['base']['bleu']:.1f}, tuned {one['tuned']['bleu']:.1f} on {one['rows']} rows")


def measure(lab: Lab, config: RunConfig, plan: Mapping[str, tuple[int, dict[str, Any]]] = PLAN) -> dict[str, Any]:
    """The asset: every setting of ``plan`` measured on one run with ``config``, which is trained if there is none."""
    run_id = _run(lab, config)
    run = lab.store.get(run_id)
    return {
        "machine": machine.described(),
        "date": datetime.date.today().isoformat(),
        "model": config.model,
        "weights_sha256": run.provenance["weights_sha256"],
        "train_rows": run.provenance["train_rows"],
        "held_out_rows": lab.answerers.held_out_count(HOST, run_id),
        "measured": [_summary(name, _evaluation(lab, run_id, *plan[name])) for name in plan],
    }


def _run(lab: Lab, config: RunConfig) -> str:
    settings = config.to_dict()
    for run in lab.store.all():
        if run.status == "finished" and run.config == settings:
            return run.id
    run_id = lab.training.start(HOST, config, "Why 0.4?")
    run = lab.training.wait(run_id)
    if run.status != "finished":
        raise SystemExit(f"The run ended as {run.status}: {run.message}")
    return run_id


def _evaluation(lab: Lab, run_id: str, rows: int, over: Mapping[str, Any]) -> dict[str, Any]:
    generation = {**LESSON_CALL, **over}
    for evaluation in lab.runs.evaluations(HOST, run_id):
        if evaluation["rows"] == rows and generation.items() <= evaluation["generation"].items():
            return evaluation
    *_, evaluation = lab.evaluations.stream(HOST, run_id, rows, generation)
    return evaluation


def _summary(name: str, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    def side(side_name: str) -> dict[str, Any]:
        report = {field: evaluation[side_name][field] for field in ("bleu", "bp", "ci")}
        return report | {field: evaluation[f"{side_name}_{field}"] for field in SIDE}

    shared = {field: evaluation[field] for field in ("rows", "generation", "delta", "delta_ci", "p_value")}
    sides = {side_name: side(side_name) for side_name in ("base", "tuned")}
    return {"name": name, **shared, "signature": evaluation["tuned"]["signature"], **sides}


if __name__ == "__main__":
    main()
