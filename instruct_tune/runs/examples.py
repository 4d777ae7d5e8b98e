"""Adds the example runs that come with the project to the run store of a new lab.

They are real runs of the default model, recorded by ``python -m benchmarks.record`` on another machine.
In the store they are finished runs like any other, so nothing treats them specially. ``provenance["recorded"]``
names the machine and the date, and every display of such a run includes it.
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
from ..store.run import Run
from ..store.run_store import RunStore
from ..util.assets import asset
from ..util.atomic_write import atomic_folder

ASSETS = asset("recorded")
PREFIX = "recorded-"
BEST = "recorded-good"
"""The run that the page selects first for a visitor."""

_ADDED = "recorded.json"
"""A file in the data folder with the ids that were added once, so that deleted runs do not come back."""


def put_recorded(store: RunStore, assets: Path = ASSETS, again: bool = False) -> list[str]:
    """Add the recorded runs that ``store`` never had; returns their ids.

    ``again``: also restore those that were deleted, for good or to the trash.

    Raises StoreError where the data folder cannot be written to.
    """
    try:
        return _add_new(store, assets, again)
    except OSError as error:
        raise StoreError(
            f"The recorded runs cannot be put into {store.data_dir} ({error.strerror or error}): "
            "make room there, or give another --data-dir."
        ) from error


def _add_new(store: RunStore, assets: Path, again: bool) -> list[str]:
    record = store.data_dir / _ADDED
    added = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []
    new = []
    for folder in sorted(assets.glob("*/run.json")):
        row = json.loads(folder.read_text(encoding="utf-8"))
        if row["id"] in added and not again:
            continue
        if row["id"] in (run.id for run in store.trashed()):
            store.restore(row["id"])
        elif not store.has(row["id"]):
            _add_run(store, folder.parent, row)
        new.append(row["id"])
    if new:
        partial = record.with_suffix(".partial")
        partial.write_text(json.dumps(sorted({*added, *new})), encoding="utf-8")
        os.replace(partial, record)
    return new


def _add_run(store: RunStore, source: Path, row: dict[str, Any]) -> None:
    """Copy one run's files and add its rows to the store."""
    target = store.data_dir / "runs" / row["id"]
    # An interrupted start may have left a folder without a row.
    shutil.rmtree(target, ignore_errors=True)
    (target / "adapter").mkdir(parents=True)
    for file in (*source.glob("adapter/*"), source / "predictions.jsonl"):
        shutil.copyfile(file, target / file.relative_to(source))
    for checkpoint in source.glob("checkpoint-*"):
        with atomic_folder(target / checkpoint.name) as written:
            shutil.copytree(checkpoint, written, dirs_exist_ok=True)
    evaluation = json.loads((source / "evaluation.json").read_text(encoding="utf-8"))
    fields = {"provenance" if name == "facts" else name: value for name, value in row.items()}
    run = Run(**{"phase": None, "error_kind": None, **fields})
    store.enter(
        run,
        metrics=_lines(source / "metrics.jsonl"),
        events=_lines(source / "events.jsonl"),
        samples=_lines(source / "samples.jsonl"),
        evaluations=[{**evaluation, "predictions": str(target / "predictions.jsonl")}],
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    return values(path.read_bytes(), path.name)


def recorded_on(provenance: Mapping[str, Any]) -> str | None:
    """ "recorded on MACHINE, DATE" for a run that came with the project; None for one of this lab's own.

    The durations of such a run do not apply to this machine.
    """
    recorded = provenance.get("recorded")
    return f"recorded on {recorded['machine']}, {recorded['date']}" if recorded else None
