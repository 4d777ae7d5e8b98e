"""A saved ledger reproduces its rows from the command line."""

import json

import pytest

from instruct_tune.cli.commands import main

FILTERS = [
    {"step": "without_input"},
    {"step": "matches", "pattern": "<script>|\u202e", "exclude": True},
    {"step": "length", "of": "output", "min": 2},
    {"step": "drop_near_duplicates"},
    {"step": "sample", "n": 20},
]


@pytest.fixture
def data(tmp_path, capsys):
    """Run the command ``data`` on forty rows; returns (exit status, its JSON, stderr)."""
    rows = [{"instruction": f"Ask {n * 7919} of {n}", "input": "", "output": "a" * n} for n in range(40)]
    rows.append({"instruction": "Bad", "input": "", "output": "<script>alert(1)</script>"})
    (tmp_path / "rows.json").write_text(json.dumps(rows))

    def run(*more):
        status = main(["data", "--data-dir", str(tmp_path / "lab"), "--json", *more])
        output = capsys.readouterr()
        return status, json.loads(output.out), output.err

    return run


def test_a_saved_ledger_replays_to_the_same_fingerprint(data, tmp_path):
    saved = str(tmp_path / "ledger.json")
    options = ["--dataset", str(tmp_path / "rows.json"), "--set", f"data.filters={json.dumps(FILTERS)}"]
    status, first, _ = data(*options, "--save-ledger", saved)
    assert status == 0
    assert [entry["step"] for entry in first["ledger"]] == [step["step"] for step in FILTERS]
    assert first["ledger"][1]["parameters"] == {"of": "row", "pattern": "<script>|\u202e", "exclude": True}
    assert first["ledger"][1]["dropped"] == 1

    status, again, stderr = data("--ledger", saved)
    assert (status, again["fingerprint"], again["ledger"]) == (0, first["fingerprint"], first["ledger"])
    assert again["replayed"] == {"fingerprint": first["fingerprint"], "same": True}
    assert stderr == ""

    status, other, stderr = data("--ledger", saved, "--set", "data.seed=7")
    assert (status, other["replayed"]["same"]) == (0, False)
    assert "these are other rows" in stderr


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"data": 3}', "[" * 100_000, "\udcff", '{"data": "x"}'])
def test_what_is_no_ledger_is_refused_in_one_sentence(data, tmp_path, content):
    (tmp_path / "broken.json").write_bytes(content.encode(errors="surrogateescape"))
    status, output, _ = data("--ledger", str(tmp_path / "broken.json"))
    assert status == 1
    assert output["error"].endswith("give one that was saved here.")


def test_a_row_is_dropped_by_its_id(data, tmp_path):
    options = ("--dataset", str(tmp_path / "rows.json"), "--rows", "3")
    _, output, _ = data(*options)
    gone = output["row_ids"]["train"][0]
    steps = json.dumps([{"step": "drop_rows", "rows": [gone]}])
    _, less, _ = data(*options, "--set", f"data.filters={steps}")
    assert less["ledger"][0]["dropped"] == 1
    assert output["train"][0] not in less["train"] + less["test"]
