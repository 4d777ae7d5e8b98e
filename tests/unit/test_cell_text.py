"""A column's value as one text, in one of the ways in which datasets write it, or an error."""

import math

import pyarrow
import pyarrow.parquet
import pytest
from data_files import everything, load_error, settings, write

from instruct_tune.config.run_config import Columns
from instruct_tune.data.cell_text import is_empty, text_in
from instruct_tune.data.columns import ColumnsError
from instruct_tune.data.splits import load_splits

PART = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Hi", "Hi"),
        (["Hi"], "Hi"),
        (["Hi", "Hi"], "Hi"),
        ([PART], "Hi"),
        ([PART, {"type": "text", "text": "!", "cache_control": None}], "Hi!"),
        ({"text": ["Hi"], "answer_start": [3]}, "Hi"),
        ({"text": "Hi"}, "Hi"),
        ([], None),
        ({"text": [], "answer_start": []}, None),
        (None, None),
    ],
)
def test_one_text_is_read_however_it_is_written(value, text):
    assert text_in(value) == text


@pytest.mark.parametrize(
    "value",
    [
        ["Hi", "Ho"], [PART, {"type": "image"}], {"text": {"a": 1}}, {"text": "Hi", "label": 1},
        [3], 3, True, {"a": "b"}, [["Hi"]], [None],
    ],
)  # fmt: skip
def test_anything_else_stays_what_it_is(value):
    assert text_in(value) is value


def test_deep_values_are_looked_through():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert is_empty(deep)
    assert not is_empty([deep, 0])
    assert is_empty("[" * 100_000) is False


def loaded(source, **changes):
    """The loaded rows as a set of (instruction, input, output)."""
    splits = load_splits(settings(source, **changes))
    return {(e.instruction, e.input, e.output) for part in everything(splits) for e in part}


def proposed(source):
    with pytest.raises(ColumnsError) as caught:
        load_splits(settings(source))
    return caught.value.proposal


USER, ASSISTANT, SYSTEM = (
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "system", "content": "Be kind."},
)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("prompt", "instruction"),
    [([USER], "Hi"), ([SYSTEM, USER], "Be kind.\n\nHi"), ([{"role": "user", "content": [PART]}], "Hi")],
)
def test_prompt_and_completion_may_be_messages(tmp_path, ending, prompt, instruction):
    source = write(tmp_path / f"rows{ending}", [{"prompt": prompt, "completion": [ASSISTANT]}] * 5)
    columns = proposed(source)
    assert columns == Columns("prompt", None, "completion")
    assert loaded(source, columns=columns) == {(instruction, "", "Hello")}


@pytest.mark.parametrize(
    ("prompt", "completion", "reason"),
    [
        ([USER, ASSISTANT, USER], [ASSISTANT], "'prompt' of rows.json holds messages that are not one instruction"),
        ([USER], [ASSISTANT, USER], "'completion' of rows.json holds messages that are not one output"),
        ([USER], [USER], "it is not one message of an assistant"),
        ([USER], [{**ASSISTANT, "weight": 0}], "its answer has weight"),
        ([USER], [{**ASSISTANT, "content": None}], "no role or no text"),
    ],
)
def test_messages_that_are_no_single_turn_are_refused(tmp_path, prompt, completion, reason):
    row = {"prompt": [USER], "completion": [ASSISTANT]}
    source = write(tmp_path / "rows.json", [row] * 4 + [{"prompt": prompt, "completion": completion}])
    message = load_error(settings(source, columns=Columns("prompt", None, "completion")))
    assert reason in message
    assert "1 row, the first is row 5" in message


def test_a_conversation_may_be_the_json_of_one(tmp_path):
    text = '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]'
    assert loaded(write(tmp_path / "rows.csv", [{"id": str(n), "messages": text} for n in range(5)])) == {
        ("Hi", "", "Hello")
    }
    broken = write(tmp_path / "broken.csv", [{"messages": text}] * 4 + [{"messages": text[:-1]}])
    assert "the first is row 5 (it is not a list of messages)" in load_error(settings(broken))


def test_answers_of_one_text_are_read_and_several_are_refused(tmp_path):
    rows = [{"context": "c", "question": "q", "answers": {"text": ["a", "a"], "answer_start": [1, 1]}}] * 5
    source = write(tmp_path / "rows.parquet", rows)
    assert loaded(source, columns=proposed(source)) == {("q", "c", "a")}
    several = write(tmp_path / "several.json", [*rows, {**rows[0], "answers": {"text": ["a", "b"]}}])
    assert "holds several texts in 1 row, the first is row 6: keep one of them" in load_error(
        settings(several, columns=proposed(several))
    )
    none = write(tmp_path / "none.json", [*rows, {**rows[0], "answers": {"text": [], "answer_start": []}}])
    assert "is null or missing in 1 row, the first is row 6" in load_error(settings(none, columns=proposed(none)))


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"question": "q", "answer": 3, "response": "r"}, Columns("question", None, "response")),
        ({"prompt": 3, "question": "q", "answer": ["a"]}, Columns("question", None, "answer")),
        ({"question": "q", "context": {"a": 1}, "answer": "a"}, None),
        ({"question": "q", "context": 1, "answer": "a"}, Columns("question", None, "answer")),
        ({"instructions": None, "question": "q", "answer": "a"}, Columns("question", None, "answer")),
        ({"question": "q", "answer": "a", "system": 5}, None),
        ({"question": "q", "answer": True}, None),
    ],
)
def test_a_column_that_holds_no_texts_is_not_proposed(tmp_path, row, columns):
    source = write(tmp_path / "rows.json", [row] * 5)
    assert proposed(source) == columns
    if columns:
        load_splits(settings(source, columns=columns))


def test_a_conversation_stands_in_where_the_columns_before_it_hold_no_texts(tmp_path):
    rows = [{"question": "q", "answer": 3, "messages": [USER, ASSISTANT]}] * 5
    assert loaded(write(tmp_path / "rows.json", rows)) == {("Hi", "", "Hello")}


# NaN


def test_nan_is_missing(tmp_path):
    table = {"instruction": ["a"] * 5, "input": pyarrow.array([math.nan] * 5), "output": ["b"] * 5}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "rows.parquet")
    assert loaded(tmp_path / "rows.parquet") == {("a", "", "b")}
    halves = pyarrow.array([math.nan] * 5, pyarrow.float16())
    pyarrow.parquet.write_table(pyarrow.table({**table, "input": halves}), tmp_path / "rows.parquet")
    assert loaded(tmp_path / "rows.parquet") == {("a", "", "b")}
    pyarrow.parquet.write_table(pyarrow.table({**table, "output": halves}), tmp_path / "rows.parquet")
    message = load_error(settings(tmp_path / "rows.parquet"))
    assert "'output' of rows.parquet is null or missing in 5 rows, the first is row 1: fill these rows in" in message


def test_nan_among_texts_in_json_is_missing_and_the_word_is_a_text(tmp_path):
    (tmp_path / "rows.json").write_text(
        '[{"instruction": "nan", "input": NaN, "output": "NaN"}, {"instruction": "a", "input": "b", "output": "c"}]'
    )
    assert loaded(tmp_path / "rows.json") == {("nan", "", "NaN"), ("a", "b", "c")}


def test_a_number_is_no_text_though_nan_stands_beside_it(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": NaN}\n{"instruction": "a", "output": 3.5}\n')
    message = load_error(settings(tmp_path / "rows.jsonl"))
    assert "is null or missing in 1 row, the first is row 1" in message
