"""One run of the history, and how it is read from and written to its row."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from dataclasses import dataclass
from typing import Any

LIVE = ("queued", "running", "stopping")
"""Statuses of a run that is queued or in progress."""
FINISHED = "finished"
ENDED = (FINISHED, "stopped", "failed", "interrupted")
_JSON_COLUMNS = ("config", "facts", "tags")
"""``facts`` holds ``Run.provenance``: the column keeps the name that scripts read in ``run.jsonl``."""
_LISTED = (
    ("config", "model"),
    ("config", "data", "source"),
    ("facts", "parent"),
    ("facts", "recorded"),
    ("facts", "imported"),
)
"""Paths into the JSON columns that the list of runs needs."""


@dataclass(frozen=True)
class Run:
    """One row of the history. Times are seconds since the epoch.

    ``provenance``: what the run was measured with. ``owner``: the only visitor who sees it (None: everyone).
    ``started_by``: who may stop it besides the host (None: anyone). ``binned``: when it was moved to the trash, else
    None. ``parent``: the run whose adapter it started from.
    """

    id: str
    name: str
    status: str
    phase: str | None
    message: str
    step: int
    total_steps: int
    created: float
    ended: float | None
    config: dict[str, Any]
    error_kind: str | None
    provenance: dict[str, Any]
    owner: str | None = None
    binned: float | None = None
    started_by: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()
    notes: str = ""

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def adapter_step(self) -> int:
        """The step that its adapter is of: not the last one where the best was kept, or a later session broke off."""
        kept = self.provenance.get("kept_step")
        return kept if isinstance(kept, int) else self.step

    @property
    def ended_early(self) -> bool:
        """Whether it can be resumed: it was paused, stopped or interrupted, or it failed."""
        return not self.live and self.status != FINISHED


_PLAIN_COLUMNS = tuple(field.name for field in dataclasses.fields(Run) if field.name not in ("config", "provenance"))
LISTED_COLUMNS = ", ".join(
    (*_PLAIN_COLUMNS, *(f"json_extract({path[0]}, '$.{'.'.join(path[1:])}')" for path in _LISTED))
)
"""What a query for ``listed_run`` selects."""


def run_of(row: sqlite3.Row) -> Run:
    """The run of a whole row."""
    fields = dict(row)
    del fields["revision"]
    fields |= {name: json.loads(fields[name]) for name in _JSON_COLUMNS}
    fields["provenance"] = fields.pop("facts")
    if "train" in fields["config"]:
        # A run from before this setting answered its prompts at every probe.
        fields["config"]["train"].setdefault("sample_every", 1)
    return Run(**{**fields, "tags": tuple(fields["tags"])})


def listed_run(row: sqlite3.Row) -> Run:
    """The run of a row of ``LISTED_COLUMNS``, with only those parts of config and provenance."""
    *own, model, source, parent, recorded, imported = tuple(row)
    fields = dict(zip(_PLAIN_COLUMNS, own, strict=True))
    provenance = {name: json.loads(text) for name, text in (("parent", parent), ("recorded", recorded)) if text}
    return Run(
        **{**fields, "tags": tuple(json.loads(fields["tags"]))},
        config={"model": model, "data": {"source": source}},
        provenance={**provenance, "imported": True} if imported else provenance,
    )


def row_of(run: Run) -> dict[str, Any]:
    """The run's values by column."""
    fields = dataclasses.asdict(run)
    fields["facts"] = fields.pop("provenance")
    return {**fields, **{name: json.dumps(fields[name]) for name in _JSON_COLUMNS}}
