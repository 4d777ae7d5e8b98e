"""Detection of the columns that hold the three texts, under various names."""

import pytest
from data_files import everything, load_error, make_rows, settings, write

from instruct_tune.config.run_config import Columns
from instruct_tune.data.splits import LedgerEntry, load_splits


def test_columns_are_mapped_and_rows_keep_their_order(tmp_path):
    rows = make_rows(20, with_input=8)
    renamed = [{"answer": r["output"], "context": r["input"], "question": r["instruction"]} for r in rows]
    plain = load_splits(settings(write(tmp_path / "plain.json", rows), "without_input"))
    mapped = load_splits(
        settings(
            write(tmp_path / "renamed.csv", renamed), "without_input", columns=Columns("question", "context", "answer")
        )
    )
    assert everything(mapped) == everything(plain)


@pytest.mark.parametrize("column", [None, "input"])
def test_a_dataset_without_inputs_has_empty_ones(tmp_path, column):
    rows = [{"instruction": row["instruction"], "output": row["output"]} for row in make_rows(10)]
    path = write(tmp_path / "rows.json", rows)
    splits = load_splits(settings(path, "without_input", columns=Columns(input=column)))
    assert splits.ledger == (LedgerEntry("without_input", 10, 0),)


def test_inputs_are_left_out_where_the_settings_say_so(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(10, with_input=10))
    splits = load_splits(settings(path, columns=Columns(input=None)))
    assert {example.input for part in everything(splits) for example in part} == {""}


def test_a_null_or_missing_input_is_an_empty_one(tmp_path):
    rows = make_rows(10, with_input=3)
    rows[5]["input"] = None
    del rows[6]["input"]
    splits = load_splits(settings(write(tmp_path / "rows.jsonl", rows), "without_input"))
    assert splits.ledger == (LedgerEntry("without_input", 7, 3),)


def test_an_input_column_requested_by_name_must_be_there(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(10))
    message = load_error(settings(path, columns=Columns(input="contxt")))
    assert message.startswith("rows.json has no column 'contxt', it has 'instruction', 'input', 'output'")
    assert "data.columns.input" in message
