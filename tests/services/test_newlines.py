"""Rows with mixed line ends: loading reports them, and a setting unifies them."""

import logging

import pytest
from commands import main
from data_files import everything, settings, write

from instruct_tune.config.run_config import RunConfig
from instruct_tune.config.viewer import HOST
from instruct_tune.data.filters import row_id
from instruct_tune.data.newlines import note_on_mixed
from instruct_tune.data.splits import load_splits
from instruct_tune.lab import Lab

UNIX = {"instruction": "a", "input": "", "output": "x\ny\n"}
WINDOWS = {"instruction": "b", "input": "1\r\n2", "output": "x\r\ny\r\n"}
NONE = {"instruction": "c", "input": "", "output": "z"}


def note(rows, tmp_path, **changes):
    (message,) = load_splits(settings(write(tmp_path / "rows.json", rows), **changes)).notes or [""]
    return message


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([UNIX] * 5 + [WINDOWS] * 5, "5 rows hold \\r\\n, as Windows writes it, and 5 rows hold \\n alone"),
        ([UNIX] * 8 + [WINDOWS, NONE], "1 row holds \\r\\n, as Windows writes it, and 8 rows hold"),
        (
            [NONE] * 5 + [{**WINDOWS, "instruction": "a\nb"}],
            "1 row holds \\r\\n, as Windows writes it, and 1 row holds",
        ),
        ([UNIX] * 5 + [{**NONE, "output": "a\rb"}], "1 row holds \\r\\n"),
        ([NONE] * 5 + [{**NONE, "output": "\n\r\n"}], "1 row holds"),
    ],
)
def test_mixed_line_ends_are_reported(tmp_path, rows, expected):
    assert expected in note(rows, tmp_path)
    assert note(rows, tmp_path, unify_newlines=True) == ""


@pytest.mark.parametrize("rows", [[UNIX] * 5, [WINDOWS] * 5, [NONE] * 5, [UNIX, NONE] * 5, [WINDOWS, NONE] * 5])
def test_line_ends_of_one_kind_are_nothing_to_say(tmp_path, rows):
    assert note(rows, tmp_path) == ""


def test_texts_stay_as_they_are_unless_they_are_unified(tmp_path):
    path = write(tmp_path / "rows.json", [UNIX] * 5 + [WINDOWS] * 5)
    plain = {(e.input, e.output) for part in everything(load_splits(settings(path))) for e in part}
    assert plain == {("", "x\ny\n"), ("1\r\n2", "x\r\ny\r\n")}
    splits = load_splits(settings(path, unify_newlines=True))
    assert {(e.input, e.output) for part in everything(splits) for e in part} == {("", "x\ny\n"), ("1\n2", "x\ny\n")}


def test_filters_and_ids_see_the_unified_texts(tmp_path):
    rows = [UNIX] * 5 + [{**UNIX, "output": "x\r\ny\r"}] * 5
    path = write(tmp_path / "rows.json", [*rows, NONE])
    assert load_splits(settings(path, "drop_exact_duplicates")).ledger[0].kept == 3
    assert load_splits(settings(path, "drop_exact_duplicates", unify_newlines=True)).ledger[0].kept == 2
    lab = Lab(tmp_path / "data", writing=False)
    config = {"data": {"source": str(path), "filters": [], "limit": None, "unify_newlines": True}}
    summary = lab.datasets.summary(HOST, config, rows=20)
    assert row_id(**UNIX) in summary["row_ids"]["train"]
    # Without the setting the same file gives its own rows, whichever is loaded first.
    assert summary["notes"] == []
    (message,) = lab.datasets.summary(HOST, {"data": {**config["data"], "unify_newlines": False}})["notes"]
    assert message.startswith("Line ends differ")


def test_the_command_line_says_it_and_the_setting_in_it_mends_it(tmp_path, capsys):
    path = write(tmp_path / "rows.json", [UNIX] * 5 + [WINDOWS] * 5)
    command = [
        "data",
        "--data-dir",
        str(tmp_path / "lab"),
        "--json",
        "--dataset",
        str(path),
        "--set",
        "data.filters=[]",
    ]
    assert main(command) == 0
    output = capsys.readouterr().err
    assert output.startswith("data: Line ends differ")
    assert "data.unify_newlines=true" in output
    assert main([*command, "--set", "data.unify_newlines=true"]) == 0
    assert capsys.readouterr().err == ""


def test_a_run_says_it_in_the_log(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "instruct_tune"):
        note([UNIX] * 5 + [WINDOWS] * 5, tmp_path)
    assert "Line ends differ" in caplog.text


def test_settings_without_it_are_written_as_before():
    assert "unify_newlines" not in RunConfig().to_dict()["data"]
    config = RunConfig.from_dict({"data": {"unify_newlines": True}})
    assert config.to_dict()["data"]["unify_newlines"] is True
    assert RunConfig.from_dict(config.to_dict()) == config


def test_no_texts_have_no_note():
    import pyarrow

    empty = pyarrow.chunked_array([[]], pyarrow.string())
    assert note_on_mixed([empty, empty]) is None
