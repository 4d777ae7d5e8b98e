"""Where base's answers to held-out rows are kept between evaluations."""

from __future__ import annotations

from pathlib import Path

from ..store.run_store import RunStore


def base_answers_folder(store: RunStore, run_id: str) -> Path | None:
    """The folder with base's answers; None for a visitor's private run, whose texts are removed with it."""
    return store.data_dir / "base-answers" if store.get(run_id).owner is None else None
