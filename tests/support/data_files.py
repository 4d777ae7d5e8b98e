"""Rows in files of every format, and the message that loading them raises."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from instruct_tune.config.filters import Filter
from instruct_tune.config.run_config import DataSettings
from instruct_tune.data.splits import examples, load_splits
from instruct_tune.errors import DataError, HubError, LabError

COLUMNS = ["instruction", "input", "output"]


def make_rows(count, with_input=0):
    """Rows that differ, the first ``with_input`` of which have an input."""
    return [
        {"instruction": f"Do {n}", "input": f"on {n}" if n < with_input else "", "output": f"Done {n}"}
        for n in range(count)
    ]


def write_json(path, rows):
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


WRITERS = {".json": write_json, ".jsonl": write_jsonl, ".csv": write_csv, ".parquet": write_parquet}


def write(path, rows):
    WRITERS[path.suffix](path, rows)
    return path


def settings(source, *filters, **changes):
    return DataSettings(
        **{"source": str(source), "filters": tuple(Filter(step) for step in filters), "limit": None, **changes}
    )


LEAKS = ("Traceback", "Arrow", "Error:", "Exception", "object at 0x")


def load_error(data, kind=DataError, leaks=LEAKS):
    """The message that loading raises, having checked that it is one clean sentence."""
    with pytest.raises(LabError) as caught:
        load_splits(data)
    message = str(caught.value)
    assert isinstance(caught.value, kind)
    assert message.endswith(".") or kind is HubError
    assert "\n" not in message
    assert not any(word in message for word in leaks)
    return message


def everything(splits):
    return examples(splits.train), examples(splits.test)
