"""Tokenizers for everything but training, which has its own: fetched, loaded and kept, for several threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..pretrained.hub_access import Access
from ..pretrained.locate import folder_stamp
from ..util.progress import Loading
from .job_queue import JobQueue
from .slow_imports import SlowImports

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_KEPT = 8
"""Tokenizers in memory; the oldest goes first."""


class Tokenizers:
    """Owns the tokenizers that people look at data and format with.

    A model that has to be made or converted before it has a tokenizer is built on the queue's thread: building
    changes transformers' and PyTorch's global state, which a run that trains meanwhile would notice.
    """

    def __init__(self, queue: JobQueue, imports: SlowImports):
        self._queue, self._imports = queue, imports
        self._known: dict[tuple[str, object], PreTrainedTokenizerBase] = {}
        self._fetching: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._loadings: set[Loading] = set()
        # Encoding switches a tokenizer between reading special tokens and spelling them out.
        self.encoding = threading.Lock()

    def get(self, model: str, loading: Loading | None = None) -> PreTrainedTokenizerBase:
        """The tokenizer of ``model``; ``loading`` follows a download and can stop it.

        Raises ModelError or HubError where it cannot be had, Stopped where ``loading`` was stopped.
        """
        tokenizer = self._known_or_loaded(model, loading)
        # After the look-up: what a token brings is marked before it is in memory.
        Access("model", model).require_readable()
        return tokenizer

    def has(self, model: str) -> bool:
        """Whether the tokenizer of ``model`` is in memory, for the visitor whom this thread works for."""
        with self._lock:
            known = (model, folder_stamp(model)) in self._known
        return known and Access("model", model).is_readable()

    def needs_download(self, model: str) -> bool:
        """Whether ``get`` would download something. Raises ModelError for a name that is no model's."""
        from ..pretrained.tokenizer_files import needs_download

        return not self.has(model) and needs_download(model)

    def folder(self, model: str, loading: Loading | None = None) -> Path:
        """The folder with the configuration and tokenizer of ``model``. Raises as ``get`` does."""
        self._imports.wait()
        from ..pretrained.locate import locate
        from ..pretrained.tokenizer_files import tokenizer_folder

        loading = loading or Loading()
        self._loadings.add(loading)
        try:
            folder = tokenizer_folder(model, loading)
            return folder or self._queue.run(lambda: locate(model, lambda text: None, loading).path)
        finally:
            self._loadings.discard(loading)

    def count(self, model: str, texts: Sequence[str], loading: Loading | None = None) -> list[int]:
        """How many tokens of ``model`` each text has. Raises as ``get`` does."""
        from ..pretrained.token_counts import count_tokens

        tokenizer = self.get(model, loading)
        with self.encoding:
            return count_tokens(tokenizer, texts)

    def stop(self) -> None:
        """Stop every download that is under way."""
        for loading in list(self._loadings):
            loading.stop()

    def _known_or_loaded(self, model: str, loading: Loading | None) -> PreTrainedTokenizerBase:
        key = (model, folder_stamp(model))
        with self._lock:
            if key in self._known:
                return self._known[key]
            fetching = self._fetching.setdefault(model, threading.Lock())
        if self._queue.is_worker:
            # The thread that holds the lock may be waiting for this one.
            return self._load(model, loading)
        with fetching:
            return self._known.get(key) or self._load(model, loading)

    def _load(self, model: str, loading: Loading | None) -> PreTrainedTokenizerBase:
        from ..pretrained.tokenizers import load_tokenizer

        # Of before it is read: a change meanwhile is read at the next look.
        key = (model, folder_stamp(model))
        tokenizer = load_tokenizer(model, self.folder(model, loading))
        with self._lock:
            self._known[key] = tokenizer
            while len(self._known) > MAX_KEPT:
                self._known.pop(next(iter(self._known)))
        return tokenizer
