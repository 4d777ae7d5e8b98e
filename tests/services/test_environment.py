"""The host's limits on rows and file sizes, and files that exceed them, before or after unpacking."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from instruct_tune.config import environment
from instruct_tune.config.run_config import DataSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import examples, load_splits
from instruct_tune.errors import DataError, SettingsError
from instruct_tune.lab import Lab

ROWS = [{"instruction": f"Do {n}", "output": f"Done {n}"} for n in range(21)]
WRITTEN = {
    "rows.json": json.dumps(ROWS).encode(),
    "rows.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "rows.csv": ("instruction,output\n" + "".join(f"{r['instruction']},{r['output']}\n" for r in ROWS)).encode(),
}


def load(path):
    return load_splits(DataSettings(source=str(path), filters=(), limit=None))


def write(folder, name):
    path = folder / name
    if name in WRITTEN:
        path.write_bytes(WRITTEN[name])
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("name", [*WRITTEN, "rows.parquet"])
def test_a_dataset_of_too_many_rows_is_refused(tmp_path, monkeypatch, name):
    path = write(tmp_path, name)
    monkeypatch.setenv("LAB_MAX_ROWS", "21")
    assert load(path).rows_loaded == 21
    monkeypatch.setenv("LAB_MAX_ROWS", "20")
    with pytest.raises(DataError, match=rf"{name} has (21|more than 20) rows, and this lab takes at most 20: give a p"):
        load(path)


def test_an_upload_that_is_too_large_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_MAX_UPLOAD_MB", "1")
    lab = Lab(tmp_path / "data", writing=False)
    (tmp_path / "large.json").write_bytes(b" " * (environment.MEGABYTE + 1))
    with pytest.raises(DataError, match=r"large.json has 1.0 MB, and this lab takes uploads of at most 1 MB"):
        lab.uploads.keep(HOST, tmp_path / "large.json")
    assert not lab.uploads.folder.exists()
    (tmp_path / "fits.json").write_bytes(b" " * environment.MEGABYTE)
    assert lab.uploads.keep(HOST, tmp_path / "fits.json").stat().st_size == environment.MEGABYTE


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5", "²", "9" * 30])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, given):
    monkeypatch.setenv("LAB_MAX_ROWS", given)
    with pytest.raises(SettingsError, match="LAB_MAX_ROWS must be a whole number"):
        environment.max_rows()


def test_a_limit_left_empty_is_the_usual_one(monkeypatch):
    monkeypatch.setenv("LAB_MAX_ROWS", " ")
    monkeypatch.delenv("LAB_MAX_UPLOAD_MB", raising=False)
    assert (environment.max_rows(), environment.max_upload_bytes()) == (1_000_000, 100 * 2**20)


def test_a_small_file_that_unpacks_to_very_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "LARGEST_TEXT", 20 * environment.MEGABYTE)
    long = pyarrow.array(["x" * 100_000]).dictionary_encode()
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 100_000, "int32"), long.dictionary)
    path = tmp_path / "bomb.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"instruction": texts, "output": texts}), path)
    assert path.stat().st_size < environment.MEGABYTE
    with pytest.raises(DataError, match=r"bomb.parquet unpack to more than 20 MB"):
        load(path)


def test_columns_that_are_not_requested_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "LARGEST_TEXT", environment.MEGABYTE)
    rows = [{**row, "pages": "x" * 100_000} for row in ROWS]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert load(tmp_path / "rows.parquet").rows_loaded == 21


def test_a_row_of_a_megabyte_is_a_row(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({**row, "output": "x" * 10**6}) + "\n" for row in ROWS[:5]))
    assert {len(row.output) for row in examples(load(tmp_path / "rows.jsonl").train)} == {10**6}


# How spreadsheets write CSV


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_separator_is_found_in_the_first_line(tmp_path, mark):
    cells = [["instruction", "input", "output"], *(['"a, b; c\t| d"', "", f'"{n}\nnext"'] for n in range(5))]
    (tmp_path / "rows.csv").write_text("\n".join(mark.join(line) for line in cells))
    rows = examples(load(tmp_path / "rows.csv").train)
    assert {row.instruction for row in rows} == {"a, b; c\t| d"}
    assert all(row.output.endswith("\nnext") for row in rows)


def test_a_comma_in_the_header_decides(tmp_path):
    (tmp_path / "rows.csv").write_text("instruction,output;x;y\n" + "a;b,c\n" * 5)
    with pytest.raises(DataError, match="has no column 'output'"):
        load(tmp_path / "rows.csv")


def test_an_index_column_without_a_name_does_no_harm(tmp_path):
    (tmp_path / "rows.csv").write_text(",instruction,output\n" + "".join(f"{n},a,b\n" for n in range(5)))
    assert load(tmp_path / "rows.csv").rows_loaded == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", ',,""\na,b,c\n', "rows.csv has an empty header: its first line has to name the columns"),
        ("rows.csv", "instruction;output;output\na;b;c\n", "more than one column 'output'"),
        ("rows.json", json.dumps(ROWS).encode("utf-16"), "is not UTF-8 text but looks like UTF-16 (byte 1 "),
    ],
)
def test_a_header_or_an_encoding_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load(tmp_path / name)
    assert message in str(caught.value)


def test_a_parquet_column_twice(tmp_path):
    table = pyarrow.table([["a"] * 5] * 3, names=["instruction", "output", "output"])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="more than one column 'output'"):
        load(tmp_path / "rows.parquet")
