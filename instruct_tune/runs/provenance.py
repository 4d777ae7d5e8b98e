"""What a run was trained on: whether weights and rows are still those, which their names do not show, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..pretrained.locate import Weights
from ..store.run import Run
from ..text.plain_text import counted

NOT_IMPORTED = "not_imported"
"""What of an imported run did not come along: ``ROWS`` or ``TRAINING`` (settings and rows); not there if all came."""
ROWS, TRAINING = "rows", "training"


def not_imported(provenance: Mapping[str, Any]) -> str:
    """The value of ``NOT_IMPORTED``; empty where the run was trained here, or came whole."""
    return str(provenance.get(NOT_IMPORTED, ""))


STATUS = "status"
"""How an imported run had ended where it was exported; not there if it finished. In an exported one always there."""


def ended_as(run: Run) -> str:
    """The status of its training. An imported run is finished itself, for nothing of it is left to resume."""
    return str(run.provenance.get(STATUS, run.status))


def rows_trained_on(run: Run) -> str:
    """``200 rows``, or ``48 of 200 rows`` where the adapter has seen only these; empty where that is not known."""
    rows, train = run.provenance.get("train_rows"), run.config["train"]
    if not isinstance(rows, int) or not_imported(run.provenance) == TRAINING:
        return ""
    if not (run.adapter_step or run.total_steps):
        # An import without its measurements: no step is known.
        return f"at most {counted(rows, 'row')}"
    seen = run.adapter_step * train["per_device_train_batch_size"] * train["gradient_accumulation_steps"]
    return counted(rows, "row") if seen >= rows else f"{seen:,} of {counted(rows, 'row')}"


def other_weights(provenance: Mapping[str, Any], here: Weights) -> str | None:
    """A sentence, where the run with this ``provenance`` was trained on other weights of the same name; else None.

    None, too, for a run that recorded no sha256.
    """
    trained_on = provenance.get("weights_sha256")
    if trained_on in (None, here.sha256):
        return None
    return (
        f"This run was trained on other weights of the same name (from {provenance.get('weights_source')}, sha256 "
        f"{trained_on[:8]}…; here they are from {here.source}, sha256 {here.sha256[:8]}…): "
        "its answers here may differ."
    )


EARLIER_SPLITS = "earlier_splits"
"""The runs that a run continues: of each ``split_of`` its data."""


def split_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide which rows are held out; ``limit`` takes from the training rows alone."""
    return {name: value for name, value in data.items() if name != "limit"}


def other_splits(provenance: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """One sentence, where a run that this one continues held out other rows of the same source; else empty."""
    own = split_of(data)
    earlier = [split for split in provenance.get(EARLIER_SPLITS, []) if split["source"] == own["source"]]
    if all(split == own for split in earlier):
        return []
    return [
        "This run goes on from one that split the same data in another way (its seed, held-out share, filters or "
        "columns). Rows that were trained on before may be among the held-out ones, so its scores may be too good."
    ]


def other_rows(provenance: Mapping[str, Any], fingerprint: str) -> list[str]:
    """One sentence, where the run with this ``provenance`` was trained on rows with another fingerprint; else empty.

    Empty, too, for a run that recorded no fingerprint.
    """
    if provenance.get("data_fingerprint") in (None, fingerprint):
        return []
    return [
        "This run was trained on other rows: its dataset has changed since, and with it the split. Rows that it was "
        "trained on may be among the held-out ones, so its score may be too good."
    ]
