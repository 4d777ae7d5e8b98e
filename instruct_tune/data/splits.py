"""Turn a dataset's name into the rows that a model is trained and evaluated on.

The order and the library are the lesson's: load, filter, shuffle, split, and only then cap the training rows.
Any other order gives other rows than the lesson's notebook.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..config.filters import DROP_LEAKAGE, Filter, parameters
from ..config.run_config import DataSettings
from ..errors import DataError
from ..pretrained.token_counts import count_tokens_of
from ..text.plain_text import counted
from ..util.progress import Loading
from .filters import Texts, TokenCounter, check_comparable, kept_by
from .leakage import find_leakage
from .near_duplicates import near_pairs
from .newlines import note_on_mixed
from .sources import load_table
from .table import Table, to_dataset

if TYPE_CHECKING:
    import datasets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One row: the instruction, its input (often empty), and the answer to learn."""

    instruction: str
    input: str
    output: str

    @property
    def question(self) -> str:
        """Instruction and input as one text."""
        return f"{self.instruction}\n{self.input}" if self.input.strip() else self.instruction


@dataclass(frozen=True)
class LedgerEntry:
    """Counts of rows that one filter kept and dropped. ``parameters``: the filter's settings besides its name."""

    step: str
    kept: int
    dropped: int
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the public JSON: step, kept, dropped, and ``parameters`` if the step has any."""
        entry = dataclasses.asdict(self)
        return entry if self.parameters else {name: entry[name] for name in ("step", "kept", "dropped")}


@dataclass(frozen=True)
class Splits:
    """Training rows and held-out rows, with their provenance.

    ``train`` and ``test`` have the columns instruction, input and output, all texts. The ledger
    starts from ``rows_loaded``; ``train`` may be capped below ``train_rows_before_limit``.
    ``columns``: all column names of the source. ``notes``: sentences about irregularities in its rows.
    ``fingerprint`` is a hash of the rows themselves, in their order.
    """

    source: str
    licence: str
    columns: tuple[str, ...]
    rows_loaded: int
    ledger: tuple[LedgerEntry, ...]
    train: datasets.Dataset
    test: datasets.Dataset
    train_rows_before_limit: int
    fingerprint: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedRows:
    """A source's rows as three text columns, unfiltered, and the table they come from, without its values."""

    rows: datasets.Dataset
    table: Table


def load_splits(settings: DataSettings, loading: Loading | None = None) -> Splits:
    """Load, map columns, filter, shuffle, split, and cap the training rows.

    ``loading`` reports progress and can cancel. Raises DataError if the data cannot be used, HubError if the Hub
    does not serve it, Stopped if ``loading`` was cancelled.
    """
    loading = loading or Loading()
    loaded = load_rows(settings, loading)
    for note in loaded.table.notes:
        log.warning("%s", note)
    loading.enter(f"Filtering and splitting {counted(loaded.table.rows, 'row')}")
    return split_rows(loaded.rows, loaded.table, settings)


def load_rows(settings: DataSettings, loading: Loading) -> LoadedRows:
    """Load the rows that source, split and columns in ``settings`` name; ``data.filters`` is not applied."""
    import datasets

    datasets.disable_progress_bars()
    table = load_table(settings, loading)
    rows = to_dataset(table, settings.columns, unify_newlines=settings.unify_newlines)
    note = note_on_mixed(rows.data.table.columns)
    # The rows now hold the texts, so the values that were read are dropped.
    return LoadedRows(rows, replace(table, columns={}, notes=(note,) if note else ()))


def split_rows(
    rows: datasets.Dataset, table: Table, settings: DataSettings, count_tokens: TokenCounter = count_tokens_of
) -> Splits:
    """Filter, shuffle and split the rows of ``table``, drop leaking training rows, and cap the rest.

    ``count_tokens`` counts for filters by length in tokens.
    """
    kept, ledger = _filter(rows, settings.filters, table.name, count_tokens)
    train, test = _split(kept, settings, table.name)
    if DROP_LEAKAGE in settings.filters:
        train, entry = _without_leakage(train, test, table.name)
        ledger += (entry,)
    capped = train if settings.limit is None else train.select(range(min(settings.limit, len(train))))
    return Splits(
        source=settings.source,
        licence=table.licence,
        columns=tuple(table.found),
        rows_loaded=len(rows),
        ledger=ledger,
        train=capped,
        test=test,
        train_rows_before_limit=len(train),
        fingerprint=_fingerprint(capped, test),
        notes=table.notes,
    )


def examples(dataset: datasets.Dataset, start: int = 0, count: int | None = None) -> list[Example]:
    """Return ``count`` rows from ``start`` on; None for all."""
    rows = dataset[start : None if count is None else start + count]
    return [Example(*texts) for texts in zip(rows["instruction"], rows["input"], rows["output"], strict=True)]


def take_evaluation_rows(test: datasets.Dataset, evaluation_rows: int | None) -> datasets.Dataset:
    """Return the first ``evaluation_rows`` held-out rows; None for all."""
    return test if evaluation_rows is None else test.select(range(min(evaluation_rows, len(test))))


def take_probe_rows(test: datasets.Dataset, evaluation_rows: int | None, probe_rows: int) -> datasets.Dataset:
    """Return up to ``probe_rows`` held-out rows after the evaluation's, so that no evaluation uses them."""
    start = len(take_evaluation_rows(test, evaluation_rows))
    # A list, since select() rejects an empty range that starts at the end.
    return test.select(list(range(start, min(start + probe_rows, len(test)))))


# Filtering and splitting


def _filter(
    rows: datasets.Dataset, filters: Sequence[Filter], name: str, count_tokens: TokenCounter
) -> tuple[datasets.Dataset, tuple[LedgerEntry, ...]]:
    before_split = [step for step in filters if step != DROP_LEAKAGE]
    if not before_split:
        return rows, ()
    columns = rows[:]
    texts = Texts(columns["instruction"], columns["input"], columns["output"])
    ledger, places = [], list(range(len(rows)))
    for step in before_split:
        kept = kept_by(step, texts, count_tokens)
        ledger.append(LedgerEntry(step.step, len(kept), len(texts) - len(kept), parameters(step)))
        if not kept:
            raise DataError(
                f"The filter {step.step} left none of the {counted(len(texts), 'row')} of {name}: "
                "remove it from data.filters, or choose another dataset."
            )
        texts, places = texts.take(kept), [places[place] for place in kept]
    return rows.select(places), tuple(ledger)


def _split(rows: datasets.Dataset, settings: DataSettings, name: str) -> tuple[datasets.Dataset, datasets.Dataset]:
    # The held-out part is rounded up, so the training part can be empty.
    if math.ceil(settings.test_size * len(rows)) >= len(rows):
        raise DataError(
            f"{name} has {counted(len(rows), 'row')} to split, and data.test_size {settings.test_size} "
            "leaves none to train on: give it more rows, or keep more of them."
        )
    shuffled = rows.shuffle(seed=settings.seed, keep_in_memory=True)
    parts = shuffled.train_test_split(test_size=settings.test_size, seed=settings.seed, keep_in_memory=True)
    return parts["train"], parts["test"]


def _without_leakage(
    train: datasets.Dataset, test: datasets.Dataset, name: str
) -> tuple[datasets.Dataset, LedgerEntry]:
    """Drop training rows that are near copies of held-out rows. Held-out rows stay, so scores remain comparable."""
    rows = len(train) + len(test)
    check_comparable(rows, DROP_LEAKAGE.step)
    pairs = near_pairs([row.question for row in (*examples(train), *examples(test))])
    leaking = find_leakage(pairs, len(train), rows).train_rows
    if len(leaking) == len(train):
        raise DataError(
            f"Every training row of {name} is a near copy of a held-out row: "
            f"remove {DROP_LEAKAGE.step} from data.filters, or choose another dataset."
        )
    kept = train.select([row for row in range(len(train)) if row not in leaking])
    return kept, LedgerEntry(DROP_LEAKAGE.step, rows - len(leaking), len(leaking))


def _fingerprint(train: datasets.Dataset, test: datasets.Dataset) -> str:
    # Not the library's fingerprint, which identifies how a dataset was made, not its content.
    digest = hashlib.sha256()
    for part, rows in (("train", train), ("test", test)):
        digest.update(f"{part} {len(rows)}\n".encode())
        # In chunks: as Python objects, all rows take several times the memory of their texts.
        for start in range(0, len(rows), 10_000):
            for row in examples(rows, start, 10_000):
                digest.update(json.dumps([row.instruction, row.input, row.output]).encode() + b"\n")
    return digest.hexdigest()[:16]
