"""For every mistake in a data file, one clear sentence states what is wrong and what to do."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from data_files import COLUMNS, load_error, make_rows, settings, write

from instruct_tune.data.splits import load_splits

ROW = '{"instruction": "i", "input": "", "output": "o"}'


def lines(*outputs):
    """JSON lines with these JSON values as outputs."""
    return "\n".join(f'{{"instruction": "i", "input": "", "output": {output}}}' for output in outputs)


BAD_FILES = {
    "empty": ("rows.json", "", ["rows.json is empty"]),
    "only blanks": ("rows.csv", " \n\n", ["rows.csv is empty"]),
    "only a byte order mark": ("rows.csv", "\ufeff\n", ["rows.csv is empty"]),
    "empty parquet": ("rows.parquet", "", ["rows.parquet is empty"]),
    "unknown ending": ("rows.xlsx", "x", ["rows.xlsx is not a kind of file", ".json, .jsonl, .csv, .parquet"]),
    "no ending": ("rows", "x", ["rows is not a kind of file"]),
    "not JSON": ("rows.json", "hello", ["rows.json is not valid JSON at line 1", "mend that line"]),
    "a bad line": ("rows.jsonl", f"{ROW}\n{ROW}\n{{oops\n", ["rows.jsonl is not valid JSON at line 3"]),
    "a bad line after a blank": ("rows.jsonl", f"{ROW}\n\n{{oops\n", ["at line 3"]),
    "a list cut short": ("rows.json", f"[{ROW},\n{ROW[:20]}", ["is not valid JSON at line 2", "cut short"]),
    "lines cut short": ("rows.jsonl", f"{ROW}\n{ROW[:20]}", ["is not valid JSON at line 2", "cut short"]),
    "too deep": ("rows.json", "[" * 100_000, ["lists too deep"]),
    "a number too long": ("rows.jsonl", lines("1" * 5000), ["number too long"]),
    "garbage": (
        "rows.json",
        bytes(range(255, 0, -1)),
        ["rows.json is not UTF-8 text", "byte 1 is", "save it as UTF-8"],
    ),
    "garbage CSV": ("rows.csv", bytes(range(255, 0, -1)), ["rows.csv is not UTF-8 text"]),
    "garbage parquet": ("rows.parquet", bytes(range(255)), ["rows.parquet is not a readable parquet file"]),
    "another encoding": ("rows.csv", "instruction,output\nnaïve,x\n".encode("latin-1"), ["UTF-8", "byte 22"]),
    "UTF-16": ("rows.json", ROW.encode("utf-16"), ["rows.json is not UTF-8 text"]),
    "broken UTF-8": ("rows.jsonl", lines('"ok"').encode() + b'\n{"instruction": "\xc3"}', ["is not UTF-8 text"]),
    "one object": ("rows.json", '{"data": [1]}', ["holds one JSON object, not rows", "make it a list of objects"]),
    "one object, printed": ("rows.json", json.dumps({"data": [{}]}, indent=2), ["holds one JSON object, not rows"]),
    "one row": ("rows.jsonl", ROW, ["rows.jsonl has 1 row to split", "give it more rows"]),
    "one row, printed": ("rows.json", json.dumps(json.loads(ROW), indent=2), ["rows.json has 1 row to split"]),
    "one row of other columns": (
        "rows.jsonl",
        '{"question": "q", "answer": "a"}',
        ["set data.columns.instruction=question"],
    ),
    "columns instead of rows": (
        "rows.json",
        '{"instruction": ["a", "b"], "output": ["c", "d"]}',
        ["one JSON object, not"],
    ),
    "a list of texts": ("rows.json", '["a", "b"]', ["holds a text where an object", "2 rows, the first is row 1"]),
    "one number among rows": ("rows.json", f"[{ROW}, 3, {ROW}]", ["holds a number", "1 row, the first is row 2"]),
    "a list of lists": ("rows.json", "[[1], [2]]", ["holds a list where an object"]),
    "lines of numbers": ("rows.jsonl", "1\n2\n", ["holds a number where an object"]),
    "a JSON null": ("rows.jsonl", "null", ["holds null where an object"]),
    "no rows in JSON": ("rows.json", "[]", ["rows.json has no rows"]),
    "no rows in CSV": ("rows.csv", "instruction,input,output\n", ["rows.csv has no rows"]),
    "other columns": (
        "rows.json",
        '[{"prompt": "p", "completion": "c"}]',
        ["no column 'instruction' and no column 'output'", "'prompt', 'completion'", "data.columns.output"],
    ),
    "one column missing": (
        "rows.csv",
        "instruction,answer\na,b\n",
        ["no column 'output', it has 'instruction', 'answer': set data.columns.output=answer."],
    ),
    "objects without columns": ("rows.json", "[{}, {}]", ["no column 'instruction'", "it has none"]),
    "many columns": ("rows.csv", ",".join("abcdefghij") + "\n" + ",".join("1234567890"), ["'h' and 2 more"]),
    "a null": (
        "rows.jsonl",
        lines('"o"', "null", '"o"', "null"),
        ["'output' of rows.jsonl is null", "2 rows", "row 2"],
    ),
    "a missing key": ("rows.json", f'[{ROW}, {{"instruction": "i"}}]', ["is null or missing in 1 row", "row 2"]),
    "only nulls": ("rows.jsonl", lines("null", "null"), ["is null or missing in 2 rows, the first is row 1"]),
    "numbers": ("rows.jsonl", lines("1", "2.5"), ["'output'", "holds a number instead of text in 2 rows", "row 1"]),
    "mixed types": ("rows.jsonl", lines('"o"', "5", '"o"'), ["holds a number instead of text in 1 row", "row 2"]),
    "not a number": (
        "rows.jsonl",
        lines('"o"', "NaN"),
        ["'output' of rows.jsonl is null or missing in 1 row", "row 2"],
    ),
    "booleans": ("rows.jsonl", lines("true", '"o"'), ["holds true or false instead of text"]),
    "lists": ("rows.jsonl", lines("[1]", '"o"'), ["holds a list instead of text", "name another column"]),
    "several texts": (
        "rows.jsonl",
        lines('["o", "p"]', '"o"'),
        ["'output' of rows.jsonl holds several texts in 1 row"],
    ),
    "objects": ("rows.jsonl", lines('"o"', '{"a": 1}'), ["holds an object instead of text", "row 2"]),
    "half a character": ("rows.jsonl", lines('"o"', r'"\ud83d"'), ["holds half a character", "1 row", "row 2"]),
    "a number as input": (
        "rows.json",
        '[{"instruction": "i", "input": null, "output": "o"}, {"instruction": "i", "input": 5, "output": "o"}]',
        ["Column 'input' of rows.json holds a number", "1 row, the first is row 2"],
    ),
    "too few cells": ("rows.csv", "instruction,input,output\na,,b\na,b\n", ["Row 2 of rows.csv has 2 cells", "has 3"]),
    "too many cells": ("rows.csv", "instruction,output\na,b\na,b,c\n", ["Row 2 of rows.csv has 3 cells", "quotes"]),
    "a quote left open": ("rows.csv", 'instruction,output\n"a,b\nc,d\n', ["not well-formed CSV", "quotes"]),
    "a column twice": ("rows.csv", "instruction,output,output\na,b,c\n", ["more than one column 'output'"]),
    "too few rows to split": ("rows.csv", "instruction,output\na,b\n", ["1 row to split", "data.test_size 0.2"]),
}


@pytest.mark.parametrize(("name", "content", "fragments"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_gets_one_clear_sentence(tmp_path, name, content, fragments):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    message = load_error(settings(tmp_path / name))
    for fragment in fragments:
        assert fragment in message
    assert ": " in message  # the problem, then the remedy


@pytest.mark.parametrize("cut", [4, 0.5, 0.99])
def test_a_parquet_file_cut_short(tmp_path, cut):
    content = write(tmp_path / "whole.parquet", make_rows(500)).read_bytes()
    (tmp_path / "rows.parquet").write_bytes(content[: cut if cut > 1 else int(len(content) * cut)])
    assert "rows.parquet is not a readable parquet file" in load_error(settings(tmp_path / "rows.parquet"))


def test_a_parquet_file_with_damaged_pages(tmp_path):
    content = bytearray(write(tmp_path / "rows.parquet", make_rows(500)).read_bytes())
    content[10:200] = b"\xff" * 190
    (tmp_path / "rows.parquet").write_bytes(content)
    assert "rows.parquet is not a readable parquet file" in load_error(settings(tmp_path / "rows.parquet"))


@pytest.mark.parametrize(
    ("column", "fragment"),
    [
        (pyarrow.array([1, 2, 3]), "holds a number instead of text in 3 rows, the first is row 1"),
        (pyarrow.array(["a", None, None]), "is null or missing in 2 rows, the first is row 2"),
        (pyarrow.array([["a", "b"], ["b"], ["c"]]), "holds several texts in 1 row, the first is row 1"),
        (pyarrow.array([[1], [2], [3]]), "holds a list instead of text"),
        (pyarrow.array([{"a": 1}] * 3), "holds an object instead of text"),
        (pyarrow.array([b"a", b"b", b"c"]), "holds raw bytes instead of text"),
        (
            pyarrow.array([0, 1, 2], pyarrow.timestamp("ns")),
            "holds dates instead of text in 3 rows, the first is row 1",
        ),
        (pyarrow.array([b"\xff"] * 3).view(pyarrow.string()), "cannot be read as text"),
        (pyarrow.array([2**40] * 3, pyarrow.timestamp("s")), "cannot be read as text"),
    ],
)
def test_a_parquet_column_that_is_no_text(tmp_path, column, fragment):
    table = pyarrow.table({"instruction": ["a", "b", "c"], "output": column})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    message = load_error(settings(tmp_path / "rows.parquet"))
    assert message.startswith("Column 'output' of rows.parquet ")
    assert fragment in message


def test_a_parquet_file_without_rows(tmp_path):
    table = pyarrow.table({name: pyarrow.array([], pyarrow.string()) for name in COLUMNS})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert "rows.parquet has no rows" in load_error(settings(tmp_path / "rows.parquet"))


@pytest.mark.parametrize("kind", [pyarrow.large_string(), pyarrow.string_view(), pyarrow.dictionary("int8", "string")])
def test_every_kind_of_parquet_text_is_text(tmp_path, kind):
    texts = pyarrow.array(["a", "b", "a", "b", "a"]).cast(kind)
    pyarrow.parquet.write_table(pyarrow.table({"instruction": texts, "output": texts}), tmp_path / "rows.parquet")
    assert load_splits(settings(tmp_path / "rows.parquet")).rows_loaded == 5


@pytest.mark.parametrize("source", ["/nowhere/rows.json", "owner/name", "bundeld", "x" * 5000 + ".json", "a\0b.json"])
def test_a_path_that_is_not_there(source):
    message = load_error(settings(source))
    assert message.startswith(f"There is no file {source}")
    assert "hub:OWNER/NAME" in message


def test_a_directory(tmp_path):
    (tmp_path / "folder.json").mkdir()
    assert "folder.json is a directory: give one file in it" in load_error(settings(tmp_path / "folder.json"))


def test_a_file_has_only_the_split_train(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(10))
    assert "rows.json has no split 'test'" in load_error(settings(path, split="test"))


def test_a_filter_that_leaves_nothing_is_named(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(12, with_input=12))
    message = load_error(settings(path, "drop_empty", "without_input"))
    assert "The filter without_input left none of the 12 rows of rows.json" in message


@pytest.mark.parametrize(("rows", "test_size"), [(1, 0.2), (2, 0.9), (10, 0.95)])
def test_a_split_without_training_rows(tmp_path, rows, test_size):
    path = write(tmp_path / "rows.csv", make_rows(rows))
    message = load_error(settings(path, test_size=test_size))
    assert f"data.test_size {test_size} leaves none to train on" in message


def test_two_rows_are_enough(tmp_path):
    splits = load_splits(settings(write(tmp_path / "rows.csv", make_rows(2))))
    assert (len(splits.train), len(splits.test)) == (1, 1)
