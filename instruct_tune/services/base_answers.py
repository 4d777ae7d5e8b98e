"""Where base's answers to held-out rows are kept between evaluations."""

from __future__ import annotations

from ..config.run_config import GenerationSettings
from ..evaluation.answer_cache import CachedAnswers, cache_of
from ..models.base_model import LoadedModel
from ..store.run_store import RunStore


def cached_base_answers(
    store: RunStore, run_id: str, loaded: LoadedModel, settings: GenerationSettings
) -> CachedAnswers | None:
    """Base's kept answers with these settings; None for a visitor's private run, whose texts are removed with it."""
    if store.get(run_id).owner is not None:
        return None
    return cache_of(store.data_dir / "base-answers", loaded, settings)
