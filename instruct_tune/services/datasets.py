"""Looking at data and format: what will be trained on, before anything is trained.

Arguments from outside (JSON configurations, texts) are validated here, whoever sends them; what
comes back is plain JSON types. Libraries that are slow to import are imported when first needed.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.catalog import TINY_MODEL
from ..config.environment import check_upload, whole_number
from ..config.filters import Length
from ..config.run_config import DataSettings, RunConfig
from ..config.viewer import HOST, Viewer
from ..data import upload_names
from ..data.columns import ColumnsError
from ..data.file_formats import ENDINGS, NAMED, ending_of
from ..data.filters import row_id
from ..data.paging import Browser, RowsPage
from ..data.splits import Example, LoadedRows, Splits, examples, load_rows, split_rows, take_evaluation_rows
from ..errors import DataError, LabError, ModelError
from ..pretrained.context_length import row_limit
from ..store.connection import on_disk
from ..text.plain_text import shown_name, text_fault
from ..tokenization.prompt_template import template_from
from ..util.progress import Loading
from .job_queue import MOST_WAITING, Engine
from .tokenizers import Tokenizers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..inspection.token_view import XRay

Config = RunConfig | Mapping[str, Any]
DATASETS_REMEMBERED = 4
LOADS_AT_ONCE = 4
UPLOAD_SUFFIXES = ENDINGS
LONGEST_TEXT = 1_000_000
"""Characters of a question, an answer or a search: more than any model's context holds."""


@dataclasses.dataclass(frozen=True)
class _Loaded:
    splits: Splits
    train: Browser
    test: Browser


class Views:
    """The part of the lab that only looks.

    ``local_paths`` says whether a configuration may name files and folders of this machine (not on
    a Space, where the page's visitors are not the machine's owners).
    """

    def __init__(self, data_dir: Path, local_paths: bool | None = None):
        self.data_dir = data_dir
        self.local_paths = "SPACE_ID" not in os.environ if local_paths is None else local_paths
        self._tables: dict[Any, LoadedRows] = {}
        self._datasets: dict[Any, _Loaded] = {}
        self._arriving: set[Loading] = set()
        self._loaders = ThreadPoolExecutor(LOADS_AT_ONCE, "load")
        self._caches = threading.Lock()
        self._importing = threading.Lock()
        self.engine = Engine(most_waiting=whole_number("LAB_MAX_QUEUE", MOST_WAITING))
        self.tokenizers = Tokenizers(self.engine, self.wait_for_imports)

    def warm_up(self) -> None:
        """Import what the first run needs; for a background thread, while people are still reading."""
        with self._importing:
            import instruct_tune.generation.generate
            import instruct_tune.training.train  # noqa: F401

    def wait_for_imports(self) -> None:
        """Whoever needs transformers (or datasets, which looks into it) waits for the warm-up first.

        While it is being imported, transformers is another module than the one it ends as, and a
        second thread would be handed that.
        """
        with self._importing:
            pass

    def config(self, given: Config, viewer: Viewer = HOST) -> RunConfig:
        """Validate a configuration (over ``quick``). Raises SettingsError naming every problem, and
        DataError or ModelError for files that are not for ``viewer``."""
        config = given if isinstance(given, RunConfig) else RunConfig.from_dict(given)
        template_from(config.template)
        source = config.data.source
        if source not in ("bundled", "codealpaca-20k") and not source.startswith("hub:"):
            self._refuse_others_file(source, viewer)
        counting = [step.tokenizer for step in config.data.filters if isinstance(step, Length) and step.tokenizer]
        for model in (config.model, *counting):
            self._refuse_folder(model, viewer)
        return config

    def _refuse_folder(self, model: str, viewer: Viewer) -> None:
        there = os.path.exists(os.path.expanduser(model))
        if not self.local_paths and there:
            raise ModelError("This lab is hosted: choose a model of the catalog or a Hub id.")
        if not viewer.host and there and self._inside(model, self.data_dir):
            raise ModelError(
                "A model cannot come from the lab's own data folder: choose one of the catalog or a Hub id."
            )

    def may_use(self, source: str, viewer: Viewer = HOST) -> bool:
        """Whether ``viewer`` may train on a source; somebody else's upload is not theirs."""
        try:
            self.config({"data": {"source": source}}, viewer)
        except LabError:
            return False
        return True

    def _refuse_others_file(self, source: str, viewer: Viewer) -> None:
        """The data folder holds other people's runs and uploads: from it a visitor may name their own uploads."""
        known = viewer.host or viewer.id is not None
        mine = known and self._inside(source, self.uploads if viewer.host else self._uploads_of(viewer))
        if not mine and not self.local_paths:
            raise DataError(
                "This lab is hosted: choose a dataset of the catalog, a Hub id (hub:OWNER/NAME), or upload a file."
            )
        if not mine and not viewer.host and self._inside(source, self.data_dir):
            raise DataError("That file of the lab is not yours to use: upload your own.")

    @staticmethod
    def _inside(path: str, folder: Path) -> bool:
        """Whether a path leads into a folder, once ``~``, links and ``..`` are followed."""
        return real_path(path).startswith(os.path.realpath(folder) + os.sep)

    def splits(self, settings: DataSettings) -> Splits:
        """The dataset, filtered and split; remembered while its file does not change."""
        return self._loaded(settings).splits

    def _loaded(self, settings: DataSettings, loading: Loading | None = None) -> _Loaded:
        key = (settings, changed(settings))
        with self._caches:
            known = self._datasets.get(key)
        if known is None:
            if self._inside(settings.source, self.uploads) and not os.path.isfile(real_path(settings.source)):
                raise DataError("That upload was removed, as uploads are after a time: upload the file again.")
            self.wait_for_imports()
            loading = loading or Loading()
            loaded = self._rows(settings, loading)
            loading.enter(f"Filtering and splitting {loaded.table.rows:,} rows")
            count = partial(self.tokenizers.count, loading=loading)
            splits = split_rows(loaded.rows, loaded.table, settings, count)
            known = _Loaded(splits, Browser(splits.train), Browser(splits.test))
            self._remember(self._datasets, key, known)
        return known

    def _rows(self, settings: DataSettings, loading: Loading) -> LoadedRows:
        """The source's rows; remembered, so that other filters do not read the file again."""
        key = _table_key(settings)
        with self._caches:
            known = self._tables.get(key)
        if known is None:
            known = load_rows(settings, loading)
            self._remember(self._tables, key, known)
        return known

    def _remember(self, cache: dict[Any, Any], key: Any, value: Any) -> None:
        with self._caches:
            cache[key] = value
            while len(cache) > DATASETS_REMEMBERED:
                cache.pop(next(iter(cache)))

    def rows_at_hand(self, config: Config, viewer: Viewer = HOST) -> bool:
        """Whether the rows that a configuration names are loaded, whatever its filters."""
        settings = self.config(config, viewer).data
        with self._caches:
            return _table_key(settings) in self._tables

    def data(self, config: Config, rows: int = 0, model: str | None = None, viewer: Viewer = HOST) -> dict[str, Any]:
        """Counts, ledger and fingerprint; with ``rows`` the first rows, with ``model`` token lengths."""
        config = self.config(config, viewer)
        splits = self.splits(config.data)
        told: dict[str, Any] = {
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
            told["train"] = [dataclasses.asdict(e) for e in examples(splits.train, 0, rows)]
            told["test"] = [dataclasses.asdict(e) for e in examples(splits.test, 0, rows)]
            told["row_ids"] = {part: [row_id(**row) for row in told[part]] for part in ("train", "test")}
        if model:
            told["token_lengths"] = self._token_lengths(dataclasses.replace(config, model=model), splits)
        return told

    def report(self, config: Config, viewer: Viewer = HOST, *, waits: bool = True) -> dict[str, Any]:
        """Lengths, gaps, duplicates and leakage of the whole split (``data.limit`` aside), as JSON types.

        Of a very large part only the first ``report.MOST_ROWS`` rows; ``reported`` says how many. With ``waits``
        off there are no lengths in tokens where the model is not on this machine yet.
        """
        from ..inspection.dataset_report import MOST_ROWS, make_report
        from ..pretrained.locate import at_hand

        config = self.config(config, viewer)
        splits = self.splits(dataclasses.replace(config.data, limit=None))
        # The tiny model is made in a moment.
        here = config.model == TINY_MODEL or self.has_tokenizer(config.model) or at_hand(config.model)
        tokenizer = self.tokenizer(config.model) if waits or here else None
        train, test = examples(splits.train, 0, MOST_ROWS), examples(splits.test, 0, MOST_ROWS)
        limit = row_limit(tokenizer, config.train.max_length) if tokenizer else config.train.max_length
        with self.tokenizers.encoding:
            found = make_report(train, test, tokenizer, template_from(config.template), limit)
        return {**found.to_dict(), "rows": {"train": len(splits.train), "test": len(splits.test)}}

    def _token_lengths(self, config: RunConfig, splits: Splits) -> dict[str, Any]:
        """Tokens a training row has with this model and template: how many rows, and how long."""
        from ..tokenization.encode import tokenize_examples

        tokenizer, template = self.tokenizer(config.model), template_from(config.template)
        with self.tokenizers.encoding:
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

    def preview(
        self, config: Config, rows: int = 10, offset: int = 0, part: str = "train", viewer: Viewer = HOST
    ) -> dict[str, Any]:
        """``data`` plus ``rows``: a page of the training (or ``test``) rows."""
        config = self.config(config, viewer)
        if not (isinstance(rows, int) and isinstance(offset, int) and 0 <= rows <= 200 and offset >= 0):
            raise DataError("rows must be a whole number from 0 to 200, and offset one from 0 on.")
        splits = self.splits(config.data)
        page = examples(splits.test if part == "test" else splits.train, offset, rows)
        return {**self.data(config, viewer=viewer), "rows": [dataclasses.asdict(e) for e in page]}

    def browse(
        self,
        config: Config,
        part: str = "train",
        search: str = "",
        order: str = "split",
        page: int = 1,
        size: int = 25,
        viewer: Viewer = HOST,
    ) -> RowsPage:
        """A page of the training (or ``test``) rows that hold ``search``, in one of ``browse.ORDERS``."""
        check_texts(search=search)
        if not (isinstance(page, int) and isinstance(size, int) and 1 <= size <= 200):
            raise DataError("page must be a whole number, and size one from 1 to 200.")
        loaded = self._loaded(self.config(config, viewer).data)
        return (loaded.test if part == "test" else loaded.train).page(search, order, page, size)

    def start_loading(self, config: Config, loading: Loading, viewer: Viewer = HOST) -> Future[RunConfig]:
        """Load a dataset on another thread, ``loading`` following it; a few at a time, the others wait.

        Gives ``proposed(config)`` once its rows are there, so that what follows finds them.
        """
        config = self.config(config, viewer)

        def load() -> RunConfig:
            loading.check()
            found = self.proposed(config, loading, viewer)
            self._loaded(found.data, loading)
            return found

        self._arriving.add(loading)
        arriving = self._loaders.submit(load)
        arriving.add_done_callback(lambda _: self._arriving.discard(loading))
        return arriving

    def has_tokenizer(self, model: str) -> bool:
        """Whether the tokenizer of ``model`` is in memory, so that nobody has to wait for it."""
        return self.tokenizers.has(model)

    def start_fetching(
        self, config: Config, loading: Loading, viewer: Viewer = HOST
    ) -> Future[PreTrainedTokenizerBase]:
        """Get the tokenizer of a configuration's model on another thread; ``loading`` follows it, and can stop it."""
        model = self.config(config, viewer).model
        self._arriving.add(loading)
        arriving = self._loaders.submit(self.tokenizers.get, model, loading)
        arriving.add_done_callback(lambda _: self._arriving.discard(loading))
        return arriving

    def stop_loading(self) -> None:
        """Ask every dataset that is on its way to stop, and take no other."""
        for loading in list(self._arriving):
            loading.stop()
        self.tokenizers.stop()
        self._loaders.shutdown(wait=False, cancel_futures=True)

    def proposed(self, config: Config, loading: Loading | None = None, viewer: Viewer = HOST) -> RunConfig:
        """``config``, its columns replaced by a proposal where the source lacks those that it names.

        Raises ColumnsError where nothing can be proposed.
        """
        config = self.config(config, viewer)
        try:
            self._loaded(config.data, loading)
        except ColumnsError as error:
            if error.proposal is None:
                raise
            return dataclasses.replace(config, data=dataclasses.replace(config.data, columns=error.proposal))
        return config

    def held_out(self, config: Config) -> list[Example]:
        """The rows that evaluation takes, in their order."""
        config = self.config(config)
        return examples(take_evaluation_rows(self.splits(config.data).test, config.evaluation_rows))

    def held_out_count(self, config: Config) -> int:
        """How many rows were held out, whether evaluation takes them or not."""
        return len(self.splits(self.config(config).data).test)

    def held_out_row(self, config: Config, index: int, viewer: Viewer = HOST) -> Example:
        """The held-out row at ``index``, from 0. Raises DataError beyond the last."""
        rows = self.splits(self.config(config, viewer).data).test
        if not 0 <= index < len(rows):
            raise DataError(f"There is no held-out row {index + 1}: they go from 1 to {len(rows)}.")
        return examples(rows, index, 1)[0]

    def tokenizer(self, model: str) -> PreTrainedTokenizerBase:
        """A tokenizer of its own for views, beside the one that trains."""
        return self.tokenizers.get(model)

    def mask(
        self, config: Config, instruction: str, input: str = "", output: str = "", viewer: Viewer = HOST
    ) -> dict[str, Any]:
        """One row as the trainer gets it."""
        from ..tokenization.encode import mask_view

        config = self.config(config, viewer)
        check_texts(instruction=instruction, input=input, output=output)
        tokenizer = self.tokenizer(config.model)
        example, limit = Example(instruction, input, output), row_limit(tokenizer, config.train.max_length)
        with self.tokenizers.encoding:
            return mask_view(tokenizer, template_from(config.template), example, limit)

    def xray(self, config: Config, index: int, fault: str | None = None, viewer: Viewer = HOST) -> XRay:
        """The training row at ``index``, from 0, token by token; with ``fault`` as it must not be (``xray.Fault``)."""
        from ..inspection.token_view import Fault, look, look_broken

        config = self.config(config, viewer)
        example, tokenizer = self.training_row(config, index, viewer), self.tokenizer(config.model)
        template, limit = template_from(config.template), row_limit(tokenizer, config.train.max_length)
        with self.tokenizers.encoding:
            if fault is None:
                return look(tokenizer, template, example, limit, config.train.overlong)
            return look_broken(tokenizer, template, example, Fault(fault))

    def training_row(self, config: Config, index: int, viewer: Viewer = HOST) -> Example:
        """The training row at ``index``, from 0. Raises DataError beyond the last."""
        train = self.splits(self.config(config, viewer).data).train
        if not 0 <= index < len(train):
            raise DataError(f"There is no training row {index + 1}: they go from 1 to {len(train)}.")
        return examples(train, index, 1)[0]

    def keep_upload(self, file: Path, viewer: Viewer = HOST) -> Path:
        """Copy an uploaded file into the data folder, under a name nobody can guess; returns its new path.

        It is ``viewer``'s alone; the host's is everyone's.
        """
        suffix = ending_of(file)
        if suffix not in UPLOAD_SUFFIXES:
            raise DataError(
                f"A {shown_name(suffix) if suffix else 'nameless'} file cannot be read: upload one of {NAMED}."
            )
        check_upload(file.name, file.stat().st_size)
        folder = self.uploads if viewer.host else self._uploads_of(viewer)
        kept = folder / (secrets.token_urlsafe(12) + suffix)
        with on_disk(self.data_dir), _whole_or_not(kept):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, kept)
            upload_names.remember(kept, file.name)
        return kept

    @staticmethod
    def source_name(source: str) -> str:
        """What to call a source on the page: an upload by the name it came with."""
        return upload_names.uploaded_as(source) or source

    @property
    def uploads(self) -> Path:
        return self.data_dir / "uploads"

    def _uploads_of(self, viewer: Viewer) -> Path:
        if viewer.id is None:
            raise DataError("The lab does not know whose file that is: reload the page, then upload it again.")
        return self.uploads / viewer.id

    def upload_owner(self, source: str) -> str | None:
        """Whose upload a source is; None where it is no visitor's."""
        if not self._inside(source, self.uploads):
            return None
        folder = os.path.dirname(real_path(source))
        return None if folder == os.path.realpath(self.uploads) else os.path.basename(folder)


@contextmanager
def _whole_or_not(file: Path) -> Iterator[None]:
    """Half a file is none."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        raise


def real_path(path: str) -> str:
    """Where ``path`` leads, as ``sources`` reads it."""
    return os.path.realpath(os.path.expanduser(path))


def changed(settings: DataSettings) -> int | None:
    """When the file of a source was written last, in nanoseconds; None where it is no file."""
    # os.path says False where Path raises, as for a name that is too long to exist.
    return os.stat(real_path(settings.source)).st_mtime_ns if os.path.isfile(real_path(settings.source)) else None


def _table_key(settings: DataSettings) -> tuple[Any, ...]:
    return settings.source, settings.split, settings.columns, settings.unify_newlines, changed(settings)


def check_texts(**texts: Any) -> None:
    """Raise DataError for a value that is no text, is too long, or holds half a character, which no tokenizer reads."""
    for name, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"{name} must be a text.")
        if fault := text_fault(text, LONGEST_TEXT):
            raise DataError(f"{name} {fault}.")
