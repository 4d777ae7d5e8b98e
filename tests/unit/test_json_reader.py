"""JSON lines are read a few at a time: the same rows, the same errors, and little memory."""

import io
import json
import tracemalloc

import hypothesis.strategies as st
import pyarrow
import pytest
from data_files import make_rows, write_jsonl
from hypothesis import given
from hypothesis import settings as tries

from instruct_tune.config.run_config import Columns
from instruct_tune.data import json_reader, text_column
from instruct_tune.data.json_reader import read_json
from instruct_tune.data.splits import examples
from instruct_tune.data.table import Table, to_dataset
from instruct_tune.errors import DataError

VALUE = st.one_of(st.none(), st.text(max_size=3), st.sampled_from([5, True, ["a"], {"a": 1}, "\ud83d"]))
RECORD = st.dictionaries(st.sampled_from(["instruction", "input", "output", "messages", "id"]), VALUE)


@pytest.fixture(autouse=True, scope="module")
def a_few_rows_a_piece():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reader, "MAX_VALUES", 3)
        patch.setattr(text_column, "MAX_VALUES", 2)
        yield


def rows_or_fault(content):
    """The rows, or the error's message."""
    try:
        names, rows, values = read_json(io.BytesIO(content.encode()), "rows", Columns())
        return examples(to_dataset(Table("rows", "", rows, names, values), Columns()))
    except DataError as error:
        return str(error)


@tries(max_examples=40)
@given(st.lists(RECORD | VALUE, min_size=2, max_size=9))
def test_lines_give_what_a_list_gives(records):
    lines = "".join(json.dumps(record) + "\n" for record in records)
    if not lines.startswith("["):
        assert rows_or_fault(lines) == rows_or_fault(json.dumps(records))


def test_a_name_may_come_late_and_a_conversation_be_found_not_to_be_needed():
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    chats = "".join(json.dumps({"id": n}) + "\n" for n in range(7)) + json.dumps({"messages": turns})
    assert "7 rows cannot, the first is row 1" in rows_or_fault(chats)
    rows = [{"messages": turns}] * 4 + make_rows(4)
    named = "".join(json.dumps(row) + "\n" for row in rows)
    assert "'instruction' of rows is null or missing in 4 rows, the first is row 1" in rows_or_fault(named)
    only_chats = "".join(json.dumps({"messages": turns}) + "\n" for _ in range(8))
    assert [(row.instruction, row.output) for row in rows_or_fault(only_chats)] == [("q", "a")] * 8


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("{oops", "not valid JSON at line 22 "),
        (
            "3\n[]",
            "a number where an object with instruction and output should be, in 2 rows, the first is row 11",
        ),
        ('{"instruction": "i", "output": 5}', "holds a number instead of text in 1 row, the first is row 11"),
    ],
)
def test_what_is_wrong_far_behind_is_reported_by_its_place(last, message):
    lines = "".join(json.dumps(row) + "\n\n" for row in make_rows(10))
    assert message in rows_or_fault(f"{lines}\n{last}")


def test_a_byte_that_is_wrong_is_counted_from_the_beginning_of_the_file():
    line = json.dumps({"instruction": "ü", "output": "o"}, ensure_ascii=False).encode() + b"\r\n"
    content = b"\xef\xbb\xbf" + line * 5 + b'{"\xff'
    with pytest.raises(DataError, match=rf"\(byte {content.index(0xFF, 3) + 1} is the first that is wrong\)"):
        read_json(io.BytesIO(content), "rows", Columns())


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("row", ['{"a": 1}', '{"a": 1}\n\n \n', '{"a":\n1}', "\n\n{\n}"])
def test_one_object_is_no_row(mark, row):
    assert "holds one JSON object, not rows" in rows_or_fault(mark + row)


@pytest.mark.parametrize("before", ["", "\n", " \n" * 2000, "\ufeff", "\ufeff \t"])
def test_a_list_is_known_by_its_beginning(before, monkeypatch):
    """Not by its first line, which may be the whole file and would then be in memory twice."""
    monkeypatch.setattr(json_reader, "lines", None)
    row = {"instruction": "a", "input": "", "output": "b"}
    assert [vars(each) for each in rows_or_fault(before + json.dumps([row, row]))] == [row, row]


def test_a_large_file_never_stands_in_memory_as_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(json_reader, "MAX_VALUES", 100)
    monkeypatch.setattr(text_column, "MAX_VALUES", 100)
    write_jsonl(tmp_path / "rows.jsonl", [{**row, "output": str(n) * 200} for n, row in enumerate(make_rows(5000))])
    size = (tmp_path / "rows.jsonl").stat().st_size
    held = pyarrow.total_allocated_bytes()
    with (tmp_path / "rows.jsonl").open("rb") as file:
        tracemalloc.start()
        names, rows, values = read_json(file, "rows", Columns())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (names, rows) == (["instruction", "input", "output"], 5000)
    assert pyarrow.total_allocated_bytes() - held < 1.5 * size
    dataset = to_dataset(Table("rows", "", rows, names, values), Columns())
    assert dataset[4999]["output"] == "4999" * 200
    assert peak < size / 5
