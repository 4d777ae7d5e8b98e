"""Downloaded rows: the same in every kind of file, and without text that a spreadsheet would run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from instruct_tune.errors import DataError
from instruct_tune.evaluation.predictions_file import write_rows

ODD = ['=HYPERLINK("http://x","y")', "+1", "-2 and\nmore", "@SUM(A1)", "\tx", 'plain, "quoted" ü\u2028', ""]
ROWS = [{"instruction": text, "base_ended": True, "tuned_tokens": 3, "tuned_chrf": -1.5} for text in ODD]


def test_jsonl_and_parquet_hold_every_text_as_it_is(tmp_path):
    write_rows(ROWS, tmp_path / "a.jsonl")
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").split("\n")[:-1]] == ROWS
    write_rows(ROWS, tmp_path / "a.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist() == ROWS


def test_a_csv_has_no_formulas_and_keeps_its_numbers(tmp_path):
    write_rows(ROWS, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["instruction"] for row in rows] == [f"'{text}" for text in ODD[:5]] + ODD[5:]
    assert {row["tuned_chrf"] for row in rows} == {"-1.5"}


@pytest.mark.parametrize(("name", "message"), [("a.xlsx", "must end in"), ("none/a.csv", "cannot be written")])
def test_what_cannot_be_written_is_an_error(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        write_rows(ROWS, Path(tmp_path / name))
