"""The recorded runs that come with the project, put into the history of a lab that starts.

They are real runs of the default model, made by ``python -m benchmarks.record`` on another machine:
there they stand as finished runs like any other, so that everything works on them with no special
case. ``facts.recorded`` says where and when, and every place that shows such a run says it too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.json_text import values
from ..errors import StoreError
from ..store.run_store import Run, RunStore
from ..util.assets import asset

ASSETS = asset("recorded")
PREFIX = "recorded-"
BEST = "recorded-good"
"""The run that a visitor is offered first."""

_HAD = "recorded.json"
"""In the data folder: the ids that were put there once. One that is gone was deleted, and stays so."""


def put_recorded(store: RunStore, assets: Path = ASSETS, again: bool = False) -> list[str]:
    """Put the recorded runs into ``store`` that it never had; returns their ids.

    ``again``: those that were deleted too, be it for good or into the bin.

    Raises StoreError where the data folder cannot be written to.
    """
    try:
        return _put_new(store, assets, again)
    except OSError as error:
        raise StoreError(
            f"The recorded runs cannot be put into {store.data_dir} ({error.strerror or error}): "
            "make room there, or give another --data-dir."
        ) from error


def _put_new(store: RunStore, assets: Path, again: bool) -> list[str]:
    remembered = store.data_dir / _HAD
    had = json.loads(remembered.read_text(encoding="utf-8")) if remembered.is_file() else []
    new = []
    for folder in sorted(assets.glob("*/run.json")):
        told = json.loads(folder.read_text(encoding="utf-8"))
        if told["id"] in had and not again:
            continue
        if told["id"] in (run.id for run in store.trashed()):
            store.restore(told["id"])
        elif not store.has(told["id"]):
            _put(store, folder.parent, told)
        new.append(told["id"])
    if new:
        partial = remembered.with_suffix(".partial")
        partial.write_text(json.dumps(sorted({*had, *new})), encoding="utf-8")
        os.replace(partial, remembered)
    return new


def _put(store: RunStore, source: Path, told: dict[str, Any]) -> None:
    """Copy one run's files and enter its history."""
    target = store.data_dir / "runs" / told["id"]
    # A folder without its row is what a start that was cut short left.
    shutil.rmtree(target, ignore_errors=True)
    (target / "adapter").mkdir(parents=True)
    for file in (*source.glob("adapter/*"), source / "predictions.jsonl"):
        shutil.copyfile(file, target / file.relative_to(source))
    evaluation = json.loads((source / "evaluation.json").read_text(encoding="utf-8"))
    run = Run(**{"phase": None, "error_kind": None, **told})
    store.enter(
        run,
        metrics=_lines(source / "metrics.jsonl"),
        events=_lines(source / "events.jsonl"),
        samples=_lines(source / "samples.jsonl"),
        evaluations=[{**evaluation, "predictions": str(target / "predictions.jsonl")}],
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return values(path.read_bytes(), path.name)


def recorded_on(facts: Mapping[str, Any]) -> str | None:
    """ "recorded on MACHINE, DATE" for a run that came with the project; None for one of this lab's own.

    The times of such a run say nothing about this machine.
    """
    recorded = facts.get("recorded")
    return f"recorded on {recorded['machine']}, {recorded['date']}" if recorded else None
