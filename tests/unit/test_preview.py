"""The preview of a large file is its first rows, read from its beginning alone; for a doubtful file there is none."""

import csv
import io
import json

import pytest

from instruct_tune.config.run_config import DataSettings, RunConfig
from instruct_tune.data import preview as module
from instruct_tune.data.preview import ROWS, first_rows

TEXTS = [(f'Say {n}, ünïcode\n"quoted"', "" if n % 2 else "with, a comma", f"It is {n} 🙂") for n in range(30_000)]


@pytest.fixture(autouse=True)
def a_megabyte_is_large(monkeypatch):
    monkeypatch.setattr(module, "LARGE", 2**20)


def settings(path, **data) -> DataSettings:
    return RunConfig.from_dict({"data": {"source": str(path), "filters": [], **data}}).data


def as_jsonl(names):
    return "".join(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n" for row in TEXTS)


def as_csv(names, delimiter=","):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([names, *TEXTS])
    return out.getvalue()


@pytest.mark.parametrize("names", [("instruction", "input", "output"), ("question", "context", "answer")])
@pytest.mark.parametrize(
    ("suffix", "written"), [("jsonl", as_jsonl), ("json", as_jsonl), ("csv", as_csv), ("csv", lambda n: as_csv(n, ";"))]
)
def test_they_are_what_the_whole_file_begins_with(tmp_path, suffix, written, names):
    file = tmp_path / f"large.{suffix}"
    file.write_text(written(names), encoding="utf-8")
    preview = first_rows(settings(file))
    assert [(row.instruction, row.input, row.output) for row in preview.rows] == TEXTS[:ROWS]
    assert preview.estimate == pytest.approx(len(TEXTS), rel=0.05)


def test_no_more_of_the_file_is_read_than_its_beginning(tmp_path, monkeypatch):
    file = tmp_path / "large.jsonl"
    file.write_text(as_jsonl(("instruction", "input", "output")), encoding="utf-8")
    with file.open("ab") as end:
        end.write(b"\xff\xfe what follows is damaged")
    assert len(first_rows(settings(file)).rows) == ROWS


def test_a_character_that_is_cut_at_the_end_of_what_is_read_does_no_harm(tmp_path, monkeypatch):
    file = tmp_path / "large.jsonl"
    file.write_text(as_jsonl(("instruction", "input", "output")), encoding="utf-8")
    for extra in range(4):
        monkeypatch.setattr(module, "MAX_BYTES", 5000 + extra)
        assert len(first_rows(settings(file)).rows) == ROWS


def test_a_quoted_cell_that_is_cut_at_the_end_of_what_is_read_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 1)
    file = tmp_path / "few.csv"
    file.write_text('instruction,output\nfirst,one\nsecond,"two\nof several', encoding="utf-8")
    (row,) = first_rows(settings(file)).rows
    assert row.instruction == "first"


@pytest.mark.parametrize(
    "written",
    [
        "[" + json.dumps({"instruction": "a", "output": "b"}) + "]",
        "no json\n" * 10,
        '"a text"\n' * 10,
        '{"instruction": 1, "output": 2}\n' * 10,
        '{"colour": "red"}\n' * 10,
        "[" * 100_000 + "\n",
        "",
    ],
)
def test_what_cannot_be_read_by_itself_has_none_and_no_error(tmp_path, monkeypatch, written):
    monkeypatch.setattr(module, "LARGE", 0)
    file = tmp_path / "doubtful.jsonl"
    file.write_text(written)
    assert first_rows(settings(file)) is None


def test_small_files_other_kinds_and_other_sources_have_none(tmp_path):
    small = tmp_path / "small.jsonl"
    small.write_text(json.dumps({"instruction": "a", "output": "b"}) + "\n")
    other = tmp_path / "large.parquet"
    other.write_bytes(b"0" * (module.LARGE + 1))
    for source in (small, other, tmp_path, tmp_path / "missing.jsonl", "bundled", "hub:some/rows"):
        assert first_rows(settings(source)) is None
