"""How CSV files of the Hub are read: each cell is text, as in a local file, and rows are as wide as the header.

``datasets`` reads them with pandas, which takes 007 for 7 and None, NA, null and nan for empty cells. If the first row
has more cells than the header, it takes the first column for row names, so each cell stands in the column before its
own; it fills a row with fewer cells up.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..text.plain_text import counted

if TYPE_CHECKING:
    import datasets

MAX_COLUMNS = 10_000
"""Columns further on are read as pandas does it."""
_OTHER_SHAPE = ("names", "column_names", "index_col", "usecols", "skiprows", "escapechar", "comment", "dialect")
"""Options of a dataset's card with which pandas does not read a header and rows as wide."""


def is_csv(builder: datasets.DatasetBuilder) -> bool:
    """Whether ``builder`` reads CSV files."""
    return hasattr(builder.config, "keep_default_na")


def options(typed: bool) -> dict[str, Any]:
    """The options of ``load_dataset`` with which each cell is text, and only an empty cell is empty.

    ``typed``: the dataset's card gives types, which need an empty cell to be null. Without types an empty cell is an
    empty text, because a column that is empty in the first 10,000 rows would be given the type of nulls.
    """
    as_text = dict.fromkeys(range(MAX_COLUMNS), str)
    return {"converters": as_text, "keep_default_na": False, "na_values": "", "na_filter": typed}


def check_shape(name: str, file: Path, config: Any) -> None:
    """Raise DataError if a row is wider or narrower than the header, or two columns have one name.

    ``config``: the builder's, from the dataset's card. Files that it says are otherwise, or that are packed otherwise
    than with gzip, are not looked at.
    """
    if any(getattr(config, each) is not None for each in _OTHER_SHAPE) or config.header != "infer":
        return
    if file.suffix not in (".csv", ".tsv", ".txt", ".gz") or len(config.sep) != 1:
        return
    read = gzip.open if file.suffix == ".gz" else open
    csv.field_size_limit(2**31 - 1)
    try:
        with read(file, "rt", encoding=config.encoding or "utf-8-sig", newline="") as text:
            rows = (row for row in csv.reader(text, delimiter=config.sep, quotechar=config.quotechar) if row)
            header = next(rows, [])
            repeated = [column for column, count in Counter(header).items() if count > 1]
            if repeated:
                raise DataError(f"{name} has more than one column {repeated[0]!r}: {_REMEDY}.")
            for number, row in enumerate(rows, start=1):
                if len(row) != len(header):
                    cells = counted(len(row), "cell")
                    raise DataError(
                        f"Row {number} of {name} has {cells} where the header has {len(header)}: {_REMEDY}."
                    )
    except (ValueError, TypeError, LookupError, EOFError, csv.Error):
        # An encoding or a mark that the card names, or the text: pandas says what is wrong with it.
        return


_REMEDY = "download the file, mend it, and give its path"
