"""Columns of mixed types, which ``datasets`` stores as the source text of JSON."""

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from instruct_tune.config.run_config import DataSettings
from instruct_tune.data.arrow_json import json_decoder
from instruct_tune.data.splits import examples, load_splits
from instruct_tune.errors import DataError

MESSAGES = [
    [{"role": "user", "content": f"Say {number}"}, {"role": "assistant", "content": f"{number}", "weight": 1}]
    for number in range(8)
]


def stored(values):
    """A column as ``datasets`` stores it, and what is read of it."""
    column = datasets.Dataset.from_dict({"a": values}, on_mixed_types="use_json").with_format("arrow")[:]["a"]
    read = json_decoder(column.type)
    return [read(value) if read else value for value in column.to_pylist()]


def test_texts_have_no_quotes_and_numbers_are_as_written():
    assert stored(["plain\nline", 5, "third", None, 1.50]) == ["plain\nline", "5", "third", None, "1.5"]


def test_lists_of_objects_with_different_keys_are_lists_of_objects():
    rows = [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b", "weight": 1}], None]
    assert stored(rows)[0][0]["content"] == "a"
    assert stored(rows)[1][0]["content"] == "b"
    assert stored(rows)[2] is None


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.list_(pyarrow.int64()), pyarrow.struct([("a", "string")])])
def test_other_columns_are_left_alone(kind):
    assert json_decoder(kind) is None


def test_a_parquet_file_with_such_columns_is_read(tmp_path):
    table = pyarrow.table({
        "instruction": [f"Say {number}" for number in range(8)],
        "output": pyarrow.array([f'"{number} \\u00e9"' for number in range(8)], pyarrow.json_()),
    })  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    rows = examples(load_splits(DataSettings(source=str(tmp_path / "rows.parquet"), filters=(), limit=None)).train)
    assert {row.output for row in rows} <= {f"{number} é" for number in range(8)}


def test_categories_within_lists_are_refused_before_they_fill_the_memory(tmp_path):
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 8, pyarrow.int32()), pyarrow.array(["x" * 1000]))
    lists = pyarrow.ListArray.from_arrays(pyarrow.array(range(9), pyarrow.int32()), text)
    table = pyarrow.table({"instruction": [f"Say {number}" for number in range(8)], "output": lists})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="lists or objects of categories"):
        load_splits(DataSettings(source=str(tmp_path / "rows.parquet"), filters=(), limit=None))
