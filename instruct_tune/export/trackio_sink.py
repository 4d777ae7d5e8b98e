"""A run in trackio's local storage: its metrics step by step, its settings and its last evaluation.

Written as trackio imports other logs (``trackio.imports``), under the run's own id: trackio's ``init`` gives each run a
new one, and names are no ids. Exporting a run again replaces it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ..errors import DataError, LabError
from ..store.run import Run

Values = Mapping[str, Any]
PIN = "trackio==0.43.0"
OWN = ("seq", "kind", "step", "epoch", "time")
"""What the store knows of a metric besides its values."""


def require_installed() -> None:
    """Raises LabError where trackio is not installed."""
    if importlib.util.find_spec("trackio") is None:
        raise LabError(f"trackio is not installed here: pip install {PIN}")


def trackio_project() -> str | None:
    """The project that the host names in ``LAB_TRACKIO`` for runs that train. Raises LabError without trackio."""
    project = os.environ.get("LAB_TRACKIO", "").strip()
    if project:
        require_installed()
    return project or None


def write_run(run: Run, metrics: Sequence[Values], evaluation: Values | None, project: str) -> int:
    """Write a run, which must be without machine paths, into ``project``; returns how many rows were written.

    Raises LabError where trackio is not installed, and DataError for a project's name that trackio does not take or a
    run without numbers.
    """
    require_installed()
    rows = [*_rows(metrics), *_evaluation_row(run, evaluation)]
    if not rows:
        raise DataError(f"Run {run.name} ({run.status}) has no numbers yet: there is nothing for trackio.")
    # It prints and takes a second: imported only to write.
    from trackio.sqlite_storage import SQLiteStorage

    try:
        SQLiteStorage.validate_project_name(project)
    except ValueError as error:
        raise DataError(f"trackio does not take this project: {error}") from None
    if any(record["id"] == run.id for record in SQLiteStorage.get_run_records(project)):
        SQLiteStorage.delete_run(project, run.name, run_id=run.id)
    SQLiteStorage.bulk_log(
        project,
        run.name,
        [values for _, _, values in rows],
        steps=[step for step, _, _ in rows],
        timestamps=[_timestamp(time) for _, time, _ in rows],
        config=_config(run, evaluation),
        run_id=run.id,
    )
    return len(rows)


def _rows(metrics: Sequence[Values]) -> Iterator[tuple[int, float, dict[str, float]]]:
    """(step, time, values) of each metric, named as trainers do: ``train/loss``, ``eval/loss``, ``probe/loss``."""
    for metric in metrics:
        kind = metric["kind"]
        named = {f"{kind}/{name.removeprefix(f'{kind}_')}": metric[name] for name in metric if name not in OWN}
        if numbers := _numbers(named):
            yield metric["step"], metric["time"], numbers | {"epoch": metric["epoch"]}


def _evaluation_row(run: Run, evaluation: Values | None) -> Iterator[tuple[int, float, dict[str, float]]]:
    """The evaluation at the step that the adapter is of: ``evaluation/base/bleu`` and so on."""
    if not evaluation:
        return
    named = {name: evaluation.get(name) for name in ("rows", "delta", "p_value")}
    for side in ("base", "tuned"):
        report = evaluation[side]
        low, high = report["ci"] or (None, None)
        named |= {f"{side}/{name}": value for name, value in {**report, "ci_low": low, "ci_high": high}.items()}
    yield run.adapter_step, evaluation["time"], _numbers({f"evaluation/{name}": value for name, value in named.items()})


def _numbers(values: Values) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _config(run: Run, evaluation: Values | None) -> dict[str, Any]:
    """The run's settings and provenance, with what its BLEU was measured with; and what trackio's own runs have."""
    measured = {}
    if evaluation:
        measured = {"generation": evaluation["generation"], "signature": evaluation["tuned"]["signature"]}
    own = {"_Username": None, "_Created": _timestamp(run.created), "_Group": None}
    return {**run.config, "status": run.status, "facts": run.provenance, "evaluation": measured, **own}


def _timestamp(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).isoformat()
