"""What the lab measured of a run, for the script to compare itself with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..runs.provenance import ROWS, TRAINING, not_imported
from ..store.run import Run

MAX_STEPS = 400
"""The most losses that a script carries; of a longer run every n-th."""
_IMPORTED = {
    "": "its adapter was imported: it was trained elsewhere, with the settings that its files tell.",
    ROWS: "its adapter was imported without its rows: other rows stand in for them here.",
    TRAINING: "its adapter was imported without its settings and rows: only the model and LoRA's settings are its own, "
    "all other settings are the lab's defaults, and other rows stand in for those that it was trained on.",
}
_VERSION = re.compile(r"\d+(\.\w+)+(\+[\w.]+)?", re.ASCII)


@dataclass(frozen=True)
class Record:
    """A stored run in numbers. ``losses`` and ``evaluations``: nats a supervised token, by step.

    ``evaluation``: its newest evaluation on held-out rows, or None.
    """

    name: str
    ended: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[int, float] = field(default_factory=dict)
    evaluations: Mapping[int, float] = field(default_factory=dict)
    evaluation: Mapping[str, Any] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it trained to its end."""
        return self.ended.startswith("finished ")

    @property
    def missing(self) -> str:
        """What of an imported run did not come along, see ``runs.provenance``."""
        return not_imported(self.provenance)

    @property
    def imported(self) -> str | None:
        """A clause on an imported run: what of it is its own; else None."""
        return _IMPORTED[self.missing] if self.provenance.get("imported") else None

    @property
    def fingerprint(self) -> str | None:
        return self.provenance.get("data_fingerprint")

    @property
    def tokenize(self) -> str | None:
        """How the newest evaluation cut texts into words."""
        return self.evaluation.get("tokenize") if self.evaluation else None

    def versions(self) -> dict[str, str]:
        """The libraries that trained it; a run from elsewhere may name anything, so only what looks like a version."""
        found = self.provenance.get("versions")
        pairs = found.items() if isinstance(found, Mapping) else ()
        return {str(name): each for name, each in pairs if isinstance(each, str) and _VERSION.fullmatch(each)}


def record_of(run: Run, metrics: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> Record:
    """The record of ``run``, which must be without machine paths. ``evaluations``: the newest first."""
    losses = {each["step"]: each["loss"] for each in metrics if each["kind"] == "train"}
    every = -(-len(losses) // MAX_STEPS) or 1
    return Record(
        name=run.name,
        ended=f"{run.status} at step {run.step} of {run.total_steps}",
        provenance=run.provenance,
        losses=dict(list(losses.items())[::every]),
        evaluations={each["step"]: each["eval_loss"] for each in metrics if each["kind"] == "eval"},
        evaluation=evaluations[0] if evaluations else None,
    )
