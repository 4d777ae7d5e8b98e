"""Other extensions, gzip files and Excel's CSV give the rows of a plain file; unpacked sizes have a limit."""

import gzip
import io
import json

import pytest
from data_files import everything, load_error, make_rows, settings, write

from instruct_tune.config import environment
from instruct_tune.config.viewer import HOST
from instruct_tune.data import preview
from instruct_tune.data.file_formats import ENDINGS, ending_of
from instruct_tune.data.preview import first_rows
from instruct_tune.data.splits import examples, load_splits
from instruct_tune.errors import DataError
from instruct_tune.lab import Lab

ROWS = [{**row, "input": 'a, "b"; c\nd\te'} for row in make_rows(12)]


def as_cells(mark, end="\r\n"):
    quoted = [["instruction", "input", "output"], *([row[name] for name in row] for row in ROWS)]
    return "".join(mark.join('"' + cell.replace('"', '""') + '"' for cell in cells) + end for cells in quoted)


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
WRITTEN = {
    ".jsonl": LINES,
    ".json": json.dumps(ROWS),
    ".csv": as_cells(","),
    ".ndjson": LINES,
    ".tsv": as_cells("\t"),
}


@pytest.fixture
def expected(tmp_path):
    return everything(load_splits(settings(write(tmp_path / "plain.json", ROWS))))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", WRITTEN)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_ending_gives_the_same_rows(tmp_path, expected, ending, packed, mark):
    content = (mark + WRITTEN[ending]).encode()
    path = tmp_path / f"ROWS.V2{ending.upper()}{'.GZ' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert ending_of(path) in ENDINGS
    assert everything(load_splits(settings(path))) == expected


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.jsonl.gz", ".jsonl.gz"), ("a.b.JSON", ".json"), ("a.gz", ".gz"), ("a", ""), (".json", ""),
        ("a.tar.gz", ".tar.gz"), ("a.parquet.gz", ".parquet.gz"),
    ],
)  # fmt: skip
def test_the_ending_of_a_packed_file_is_both(tmp_path, name, ending):
    assert ending_of(tmp_path / name) == ending


@pytest.mark.parametrize("name", ["rows.gz", "rows.tar.gz", "rows.parquet.gz", "rows.zip"])
def test_other_packed_files_are_refused_with_what_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(LINES.encode()))
    assert "or one of these texts packed (.jsonl.gz)" in load_error(settings(tmp_path / name))


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip at all",
        gzip.compress(LINES.encode())[:-20],
        gzip.compress(LINES.encode())[:12],
        b"\x1f\x8b" + b"\xff" * 50,
    ],
    ids=["no gzip", "cut at the end", "cut at the beginning", "a header alone"],
)
@pytest.mark.parametrize("ending", [".jsonl.gz", ".csv.gz", ".json.gz"])
def test_a_damaged_packed_file_is_refused(tmp_path, content, ending):
    (tmp_path / f"rows{ending}").write_bytes(content)
    assert f"rows{ending} is not a readable gzip file: it is damaged" in load_error(
        settings(tmp_path / f"rows{ending}")
    )


def test_a_packed_file_with_a_checksum_that_is_wrong_is_refused(tmp_path):
    content = bytearray(gzip.compress(LINES.encode()))
    content[-6] ^= 1
    (tmp_path / "rows.jsonl.gz").write_bytes(content)
    assert "is not a readable gzip file" in load_error(settings(tmp_path / "rows.jsonl.gz"))


def test_nothing_packed_is_empty(tmp_path):
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b" \n"))
    assert "rows.jsonl.gz is empty" in load_error(settings(tmp_path / "rows.jsonl.gz"))


@pytest.mark.parametrize("content", [b" " * (2**22), b'{"a": "' + b"x" * 2**22, b"[" + b"0," * 2**21, b"\n" * 2**22])
@pytest.mark.parametrize("ending", [".jsonl.gz", ".csv.gz", ".json.gz"])
def test_what_unpacks_to_very_much_is_refused_before_it_is_there(tmp_path, monkeypatch, content, ending):
    monkeypatch.setattr(environment, "LARGEST_TEXT", environment.MEGABYTE)
    path = tmp_path / f"bomb{ending}"
    path.write_bytes(gzip.compress(content))
    assert path.stat().st_size < 2**14
    assert "unpack to more than 1 MB" in load_error(settings(path))


def test_an_upload_unpacks_to_no_more_than_it_may_have_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_MAX_UPLOAD_MB", "1")
    lab = Lab(tmp_path / "data", writing=False)
    large = tmp_path / "large.jsonl.gz"
    large.write_bytes(
        gzip.compress(b"".join(json.dumps({**row, "output": "x" * 10**5}).encode() + b"\n" for row in ROWS))
    )
    assert load_splits(settings(large)).rows_loaded == len(ROWS)
    upload = lab.uploads.keep(HOST, large)
    assert upload.name.endswith(".jsonl.gz")
    with pytest.raises(DataError, match=r"large\.jsonl\.gz unpack to more than 1 MB"):
        lab.datasets.summary(HOST, {"data": {"source": str(upload)}})


# Excel


@pytest.mark.parametrize("line", ["sep=;\r\n", "SEP=;\n", '"sep=;"\r\n', "sep=;;;\r\n", "\ufeffsep=;\n"])
def test_excels_line_names_the_separator_and_is_no_header(tmp_path, expected, line):
    path = tmp_path / "rows.csv"
    path.write_bytes((line + as_cells(";")).encode())
    assert everything(load_splits(settings(path))) == expected


def test_the_named_separator_holds_though_the_header_looks_otherwise(tmp_path):
    (tmp_path / "rows.csv").write_text("sep=|\ninstruction|output|a,b\n" + "x,y|z|\n" * 5)
    (row,) = {*examples(load_splits(settings(tmp_path / "rows.csv")).train)}
    assert (row.instruction, row.output) == ("x,y", "z")
    (tmp_path / "rows.csv").write_text("sep=\t\ninstruction\toutput\n" + "x\ty\n" * 5)
    assert load_splits(settings(tmp_path / "rows.csv")).rows_loaded == 5


def test_a_comma_in_a_tsv_header_is_part_of_a_name(tmp_path):
    (tmp_path / "rows.tsv").write_text("id, or number\tinstruction\toutput\n" + "1\tx, y\tz\n" * 5)
    assert {row.instruction for row in examples(load_splits(settings(tmp_path / "rows.tsv")).train)} == {"x, y"}


def test_a_line_is_counted_from_the_beginning_of_the_file(tmp_path):
    (tmp_path / "rows.csv").write_text('sep=;\ninstruction;output\na;b\n"c;d\n')
    assert "not well-formed CSV at line 4" in load_error(settings(tmp_path / "rows.csv"))


@pytest.mark.parametrize("content", ["sep=;\n", "sep=;"])
def test_the_separator_alone_is_no_rows(tmp_path, content):
    (tmp_path / "rows.csv").write_text(content)
    assert "rows.csv has no rows" in load_error(settings(tmp_path / "rows.csv"))


@pytest.mark.parametrize("name", ["sep=;x", "separator", "sep=", "sep=ab"])
def test_a_column_of_a_similar_name_is_a_header(tmp_path, name):
    (tmp_path / "rows.csv").write_text(f"{name},instruction,output\n" + "1,a,b\n" * 5)
    assert load_splits(settings(tmp_path / "rows.csv")).columns == (name, "instruction", "output")


# The first rows of a large file


@pytest.mark.parametrize(
    ("ending", "content"), [(".ndjson", LINES), (".tsv", as_cells("\t")), (".csv", "sep=;\n" + as_cells(";"))]
)
def test_the_preview_reads_them_too(tmp_path, monkeypatch, ending, content):
    monkeypatch.setattr(preview, "LARGE", 1)
    (tmp_path / f"rows{ending}").write_text(content, encoding="utf-8", newline="")
    result = first_rows(settings(tmp_path / f"rows{ending}"))
    assert [vars(row) for row in result.rows] == ROWS[:10]


def test_a_packed_file_has_no_preview(tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "LARGE", 1)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    assert first_rows(settings(tmp_path / "rows.jsonl.gz")) is None


def test_members_that_follow_each_other_are_one_file(tmp_path, expected):
    """``cat a.gz b.gz`` and logs that are packed piece by piece make such files."""
    out = io.BytesIO()
    for line in LINES.splitlines(keepends=True):
        out.write(gzip.compress(line.encode()))
    (tmp_path / "rows.jsonl.gz").write_bytes(out.getvalue())
    assert everything(load_splits(settings(tmp_path / "rows.jsonl.gz"))) == expected
