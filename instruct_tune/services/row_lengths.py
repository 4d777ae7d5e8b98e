"""The lengths of a split's rows in tokens; each row is tokenised once."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from ..config.run_config import RunConfig
from ..data.splits import examples
from ..estimate.workload import RowLength
from ..tokenization.prompt_template import template_from
from .datasets import modified
from .tokenizers import Tokenizers

REMEMBERED = 8
"""The most splits whose lengths are kept."""


class RowLengths:
    """Caches the lengths by data, model and template. Thread-safe."""

    def __init__(self, tokenizers: Tokenizers):
        self._tokenizers = tokenizers
        self._cache: dict[Any, tuple[RowLength, ...]] = {}
        self._counting = threading.Lock()

    def of(self, config: RunConfig, part: str, rows: Any, wanted: int) -> tuple[RowLength, ...]:
        """The lengths of the first ``wanted`` rows with this model and template; ``part``: ``train`` or ``test``.

        A limit selects the first rows of the same order, so the cached lengths are valid for every limit.
        """
        from ..tokenization.encode import tokenize_examples

        data = dataclasses.replace(config.data, limit=None)
        key = (data, modified(config.data), part, config.model, str(config.template))
        with self._counting:
            lengths = self._cache.pop(key, ())
            if len(lengths) < wanted:
                tokenizer, template = self._tokenizers.get(config.model), template_from(config.template)
                more = examples(rows, len(lengths), wanted - len(lengths))
                with self._tokenizers.encoding:
                    tokenized = tokenize_examples(tokenizer, template, more, max_length=2**31)
                lengths += tuple(RowLength(len(row.input_ids), row.prompt_length) for row in tokenized)
            self._cache[key] = lengths
            while len(self._cache) > REMEMBERED:
                self._cache.pop(next(iter(self._cache)))
        return lengths[:wanted]
