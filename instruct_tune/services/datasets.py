"""Datasets: loaded, filtered, split, and shown row by row, before anything is trained.

Libraries that are slow to import are imported where they are first needed.
"""

from __future__ import annotations

import contextvars
import dataclasses
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..config.catalog import TINY_MODEL
from ..config.run_config import DataSettings, RunConfig
from ..config.viewer import Viewer
from ..data.columns import ColumnsError
from ..data.filters import row_id
from ..data.paging import Browser, RowsPage
from ..data.sources import is_on_hub
from ..data.splits import Example, LoadedRows, Splits, examples, load_rows, split_rows, take_evaluation_rows
from ..errors import BusyError, DataError
from ..pretrained.context_length import row_limit
from ..tokenization.prompt_template import template_from, template_of_run
from ..util.progress import Loading
from .configurations import Config, Configurations, check_texts, repositories
from .slow_imports import SlowImports
from .tokenizers import Tokenizers
from .uploads import Uploads, real_path

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..inspection.token_view import TokenView

T = TypeVar("T")
MAX_CACHED = 4
QUICK_BYTES = 5_000_000
"""Such a file is read within about a second."""
"""Datasets in memory; the oldest goes first."""
MAX_LOADS = 4
"""Datasets that are loaded at once; the others wait."""


@dataclasses.dataclass(frozen=True)
class _Loaded:
    splits: Splits
    train: Browser
    test: Browser


class Datasets:
    """Owns the rows in memory and the loads under way. Training reads its rows here too."""

    def __init__(self, configs: Configurations, uploads: Uploads, tokenizers: Tokenizers, imports: SlowImports):
        self._configs, self._uploads, self._tokenizers, self._imports = configs, uploads, tokenizers, imports
        self._tables: dict[Any, LoadedRows] = {}
        self._splits: dict[Any, _Loaded] = {}
        self._lock = threading.Lock()
        self._loadings: set[Loading] = set()
        self._stopped = False
        self._pool = ThreadPoolExecutor(MAX_LOADS, "load")

    # Loading

    def splits(self, settings: DataSettings, loading: Loading | None = None) -> Splits:
        """The dataset, filtered and split; cached while its file does not change.

        ``loading`` follows the work and can stop it. Raises DataError, HubError, Stopped.
        """
        return self._load(settings, loading).splits

    def is_loaded(self, settings: DataSettings) -> bool:
        """Whether ``splits`` has these rows, filtered and split, in memory."""
        with self._lock:
            loaded = any(known == settings for known, _ in self._splits)
        return loaded and _is_readable(settings)

    def has_rows(self, viewer: Viewer, config: Config) -> bool:
        """Whether the rows that a configuration names are in memory, whatever its filters."""
        settings = self._configs.read(viewer, config).data
        with self._lock:
            loaded = _table_key(settings) in self._tables
        return loaded and _is_readable(settings)

    def is_at_hand(self, viewer: Viewer, config: Config) -> bool:
        """Whether the rows can be had without a download: they are in memory, or their file is on this machine."""
        source = self._configs.read(viewer, config).data.source
        return not is_on_hub(source) or self.has_rows(viewer, config)

    def is_quick_to_read(self, viewer: Viewer, config: Config) -> bool:
        """Whether the rows are a small file on this machine, which is read while a person waits."""
        source = self._configs.read(viewer, config).data.source
        path = Path(source).expanduser()
        return not is_on_hub(source) and path.is_file() and path.stat().st_size <= QUICK_BYTES

    def start_loading(self, viewer: Viewer, config: Config, loading: Loading) -> Future[RunConfig]:
        """Load a dataset on another thread; ``loading`` follows it and can stop it.

        The future gives ``propose_columns(config)`` once its rows are there.
        """
        parsed = self._configs.read(viewer, config)

        def load() -> RunConfig:
            loading.check()
            proposed = self.propose_columns(viewer, parsed, loading)
            self._load(proposed.data, loading)
            return proposed

        return self._submit(load, loading)

    def start_fetching(self, viewer: Viewer, config: Config, loading: Loading) -> Future[PreTrainedTokenizerBase]:
        """Get the tokenizer of a configuration's model on another thread; ``loading`` follows it and can stop it."""
        model = self._configs.read(viewer, config).model
        return self._submit(lambda: self._tokenizers.get(model, loading), loading)

    def stop(self) -> None:
        """Stop every load that is under way, and accept no other."""
        self._stopped = True
        for loading in list(self._loadings):
            loading.stop()
        self._tokenizers.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def propose_columns(self, viewer: Viewer, config: Config, loading: Loading | None = None) -> RunConfig:
        """``config``, with other columns where the source lacks those that it names.

        Raises ColumnsError where no columns can be proposed.
        """
        parsed = self._configs.read(viewer, config)
        try:
            self._load(parsed.data, loading)
        except ColumnsError as error:
            if error.proposal is None:
                raise
            return dataclasses.replace(parsed, data=dataclasses.replace(parsed.data, columns=error.proposal))
        return parsed

    def _submit(self, load: Any, loading: Loading) -> Future[Any]:
        self._loadings.add(loading)
        try:
            future = self._pool.submit(contextvars.copy_context().run, load)
        except RuntimeError:
            # An open page may request rows while the lab ends.
            self._loadings.discard(loading)
            if self._stopped:
                raise BusyError("The lab is closing.") from None
            raise
        future.add_done_callback(lambda _: self._loadings.discard(loading))
        if self._stopped:
            # ``stop`` may have listed the loads before this one was there.
            loading.stop()
        return future

    def _load(self, settings: DataSettings, loading: Loading | None = None) -> _Loaded:
        key = (settings, modified(settings))
        with self._lock:
            known = self._splits.get(key)
        if known is None:
            self._uploads.require_present(settings.source)
            self._imports.wait()
            loading = loading or Loading()
            loaded = self._rows(settings, loading)
            loading.enter(f"Filtering and splitting {loaded.table.rows:,} rows")
            count = partial(self._tokenizers.count, loading=loading)
            splits = split_rows(loaded.rows, loaded.table, settings, count)
            known = _Loaded(splits, Browser(splits.train), Browser(splits.test))
            self._remember(self._splits, key, known)
        # After the look-up: what a token brings is marked before it is in memory.
        for repository in repositories(settings):
            repository.require_readable()
        return known

    def _rows(self, settings: DataSettings, loading: Loading) -> LoadedRows:
        """The source's rows; cached, so that other filters do not read the file again."""
        key = _table_key(settings)
        with self._lock:
            known = self._tables.get(key)
        if known is None:
            known = load_rows(settings, loading)
            self._remember(self._tables, key, known)
        return known

    def _remember(self, cache: dict[Any, T], key: Any, value: T) -> None:
        with self._lock:
            cache[key] = value
            while len(cache) > MAX_CACHED:
                cache.pop(next(iter(cache)))

    # Rows

    def summary(self, viewer: Viewer, config: Config, rows: int = 0, model: str | None = None) -> dict[str, Any]:
        """Counts, ledger and fingerprint; with ``rows`` the first rows, with ``model`` lengths in its tokens."""
        parsed = self._configs.read(viewer, config)
        splits = self.splits(parsed.data)
        summary: dict[str, Any] = {
            "source": splits.source,
            "columns": list(splits.columns),
            "rows_loaded": splits.rows_loaded,
            "ledger": [entry.to_dict() for entry in splits.ledger],
            "train_rows": len(splits.train),
            "test_rows": len(splits.test),
            "train_rows_before_limit": splits.train_rows_before_limit,
            "fingerprint": splits.fingerprint,
            "licence": splits.licence,
            "notes": list(splits.notes),
        }
        if rows:
            summary["train"] = [dataclasses.asdict(e) for e in examples(splits.train, 0, rows)]
            summary["test"] = [dataclasses.asdict(e) for e in examples(splits.test, 0, rows)]
            summary["row_ids"] = {part: [row_id(**row) for row in summary[part]] for part in ("train", "test")}
        if model:
            summary["token_lengths"] = self._token_lengths(dataclasses.replace(parsed, model=model), splits)
        return summary

    def preview(
        self, viewer: Viewer, config: Config, rows: int = 10, offset: int = 0, part: str = "train"
    ) -> dict[str, Any]:
        """``summary`` plus ``rows``: a page of the training (or ``test``) rows."""
        parsed = self._configs.read(viewer, config)
        if not (isinstance(rows, int) and isinstance(offset, int) and 0 <= rows <= 200 and offset >= 0):
            raise DataError("rows must be a whole number from 0 to 200, and offset one from 0 on.")
        splits = self.splits(parsed.data)
        page = examples(splits.test if part == "test" else splits.train, offset, rows)
        return {**self.summary(viewer, parsed), "rows": [dataclasses.asdict(e) for e in page]}

    def page(
        self,
        viewer: Viewer,
        config: Config,
        part: str = "train",
        search: str = "",
        order: str = "split",
        page: int = 1,
        size: int = 25,
    ) -> RowsPage:
        """A page of the training (or ``test``) rows that contain ``search``, in one of ``paging.ORDERS``."""
        check_texts(search=search)
        if not (isinstance(page, int) and isinstance(size, int) and 1 <= size <= 200):
            raise DataError("page must be a whole number, and size one from 1 to 200.")
        loaded = self._load(self._configs.read(viewer, config).data)
        return (loaded.test if part == "test" else loaded.train).page(search, order, page, size)

    def training_row(self, viewer: Viewer, config: Config, index: int) -> Example:
        """The training row at ``index``, from 0. Raises DataError beyond the last."""
        train = self.splits(self._configs.read(viewer, config).data).train
        if not 0 <= index < len(train):
            raise DataError(f"There is no training row {index + 1}: they go from 1 to {len(train)}.")
        return examples(train, index, 1)[0]

    def held_out(self, viewer: Viewer, config: Config) -> list[Example]:
        """The rows that an evaluation uses, in their order."""
        parsed = self._configs.read(viewer, config)
        return examples(take_evaluation_rows(self.splits(parsed.data).test, parsed.evaluation_rows))

    def held_out_count(self, viewer: Viewer, config: Config) -> int:
        """How many rows are held out, whether an evaluation uses them or not."""
        return len(self.splits(self._configs.read(viewer, config).data).test)

    def held_out_row(self, viewer: Viewer, config: Config, index: int) -> Example:
        """The held-out row at ``index``, from 0. Raises DataError beyond the last."""
        rows = self.splits(self._configs.read(viewer, config).data).test
        if not 0 <= index < len(rows):
            raise DataError(f"There is no held-out row {index + 1}: they go from 1 to {len(rows)}.")
        return examples(rows, index, 1)[0]

    # Tokens

    def report(self, viewer: Viewer, config: Config, *, waits: bool = True) -> dict[str, Any]:
        """Lengths, gaps, duplicates and leakage of the whole split (``data.limit`` aside), as JSON types.

        Of a very large part only the first ``dataset_report.MAX_ROWS`` rows; ``reported`` says how many. With
        ``waits`` off there are no lengths in tokens where the model is not on this machine yet.
        """
        from ..inspection.dataset_report import MAX_ROWS, make_report
        from ..pretrained.locate import at_hand

        parsed = self._configs.read(viewer, config)
        splits = self.splits(dataclasses.replace(parsed.data, limit=None))
        # The tiny model is made in a moment.
        is_here = parsed.model == TINY_MODEL or self._tokenizers.has(parsed.model) or at_hand(parsed.model)
        tokenizer = self._tokenizers.get(parsed.model) if waits or is_here else None
        train, test = examples(splits.train, 0, MAX_ROWS), examples(splits.test, 0, MAX_ROWS)
        limit = row_limit(tokenizer, parsed.train.max_length) if tokenizer else parsed.train.max_length
        with self._tokenizers.encoding:
            report = make_report(train, test, tokenizer, template_from(parsed.template), limit)
        return {**report.to_dict(), "rows": {"train": len(splits.train), "test": len(splits.test)}}

    def mask(
        self, viewer: Viewer, config: Config, instruction: str, input: str = "", output: str = ""
    ) -> dict[str, Any]:
        """One row as the trainer gets it: ids, tokens, labels."""
        from ..tokenization.encode import mask_view

        parsed = self._configs.read(viewer, config)
        check_texts(instruction=instruction, input=input, output=output)
        tokenizer = self._tokenizers.get(parsed.model)
        example, limit = Example(instruction, input, output), row_limit(tokenizer, parsed.train.max_length)
        with self._tokenizers.encoding:
            return mask_view(tokenizer, template_from(parsed.template), example, limit)

    def token_view(
        self,
        viewer: Viewer,
        config: Config,
        index: int,
        fault: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> TokenView:
        """The training row at ``index``, from 0, token by token.

        ``fault``: as it must not be (``token_view.Fault``), to show what that looks like. ``provenance``: of the run
        with this configuration, whose chat template may write another date today.
        """
        from ..inspection.token_view import Fault, broken_token_view, token_view

        parsed = self._configs.read(viewer, config)
        example, tokenizer = self.training_row(viewer, parsed, index), self._tokenizers.get(parsed.model)
        limit = row_limit(tokenizer, parsed.train.max_length)
        template = template_of_run(parsed.template, provenance or {})
        with self._tokenizers.encoding:
            if fault is None:
                return token_view(tokenizer, template, example, limit, parsed.train.overlong)
            return broken_token_view(tokenizer, template, example, Fault(fault))

    def _token_lengths(self, config: RunConfig, splits: Splits) -> dict[str, Any]:
        """How many tokens the training rows have with this model and template."""
        from ..tokenization.encode import tokenize_examples

        tokenizer, template = self._tokenizers.get(config.model), template_from(config.template)
        with self._tokenizers.encoding:
            rows = tokenize_examples(tokenizer, template, examples(splits.train), max_length=2**31)
        lengths, limit = sorted(len(row.input_ids) for row in rows), row_limit(tokenizer, config.train.max_length)
        return {
            "model": config.model,
            "total": sum(lengths),
            "mean": sum(lengths) / len(lengths),
            "median": lengths[len(lengths) // 2],
            "max": lengths[-1],
            "prompt_mean": sum(row.prompt_length for row in rows) / len(rows),
            "over_max_length": sum(length > limit for length in lengths),
        }


def _is_readable(settings: DataSettings) -> bool:
    """Whether rows in memory are for the visitor whom this thread works for."""
    return all(repository.is_readable() for repository in repositories(settings))


def modified(settings: DataSettings) -> int | None:
    """When the file of a source was last written, in nanoseconds; None where it is no file."""
    # os.path says False where Path raises, as for a name that is too long to exist.
    return os.stat(real_path(settings.source)).st_mtime_ns if os.path.isfile(real_path(settings.source)) else None


def _table_key(settings: DataSettings) -> tuple[Any, ...]:
    return settings.source, settings.split, settings.columns, settings.unify_newlines, modified(settings)
