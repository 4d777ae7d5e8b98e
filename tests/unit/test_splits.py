"""The lesson's recipe, the fingerprint of its rows, and slices of them."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import datasets
import pytest
from data_files import COLUMNS, everything, load_error, make_rows, settings, write

from instruct_tune.config.run_config import DataSettings
from instruct_tune.data import sources
from instruct_tune.data.splits import Example, LedgerEntry, examples, load_splits, take_evaluation_rows, take_probe_rows

CODE_ALPACA = Path(__file__).parents[3] / "shared" / "data" / "code_alpaca_2k.json"
needs_code_alpaca = pytest.mark.skipif(
    not CODE_ALPACA.exists(), reason=f"{CODE_ALPACA} is not here: its licence (CC BY-NC) keeps it out of the project"
)

# The recipe


def notebook(path, cache, steps=(lambda row: row["input"] == "",), seed=42):
    """The lesson's own code."""
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
    for step in steps:
        rows = rows.filter(step)
    return rows.shuffle(seed=seed).train_test_split(test_size=0.2, seed=seed)


@needs_code_alpaca
def test_the_recipe_gives_the_rows_of_the_notebook(tmp_path):
    ours = load_splits(settings(CODE_ALPACA, "without_input"))
    theirs = notebook(CODE_ALPACA, tmp_path)

    assert ours.rows_loaded == 2017
    assert ours.ledger == (LedgerEntry("without_input", 1011, 1006),)
    assert (len(ours.train), len(ours.test)) == (808, 203)
    assert ours.train_rows_before_limit == 808
    assert everything(ours) == (examples(theirs["train"]), examples(theirs["test"]))


def test_filters_seed_and_test_size_are_those_of_the_notebook(tmp_path):
    rows = [*make_rows(40, with_input=25), {"instruction": "Blank", "input": "x", "output": " \n"}]
    path = write(tmp_path / "rows.json", rows)
    theirs = notebook(
        path, tmp_path / "cache", [lambda row: row["input"] != "", lambda row: row["output"].strip() != ""], seed=7
    )
    ours = load_splits(settings(path, "with_input", "drop_empty", seed=7))

    assert ours.ledger == (LedgerEntry("with_input", 26, 15), LedgerEntry("drop_empty", 25, 1))
    assert everything(ours) == (examples(theirs["train"]), examples(theirs["test"]))
    assert len(load_splits(settings(path, test_size=0.5)).test) == 21


def test_another_order_would_give_other_rows(tmp_path):
    # Proves that the two tests above can fail: shuffling before the filter gives other rows.
    path = write(tmp_path / "rows.json", make_rows(40, with_input=20))
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    other = rows.shuffle(seed=42).filter(lambda row: row["input"] == "").train_test_split(test_size=0.2, seed=42)
    assert examples(load_splits(settings(path, "without_input")).test) != examples(other["test"])


def test_near_copies_of_held_out_rows_are_left_out_of_training_and_those_stay(tmp_path):
    rows = [{"instruction": f"Tell me {sha256(bytes([n])).hexdigest()[:24]}", "output": str(n)} for n in range(40)]
    rows += [{**row, "instruction": row["instruction"].upper() + "!"} for row in rows[:20]] + rows[20:30]
    path = write(tmp_path / "rows.json", rows)
    before, after = load_splits(settings(path)), load_splits(settings(path, "drop_leakage"))
    (entry,) = after.ledger
    assert examples(after.test) == examples(before.test)
    assert entry.dropped == len(before.train) - len(after.train) > 0
    assert entry.kept == len(after.train) + len(after.test)
    train = set(examples(after.train))
    assert [row for row in examples(before.train) if row in train] == examples(after.train)
    questions = {"".join(c for c in row.question.lower() if c.isalnum()) for row in examples(after.test)}
    assert not {"".join(c for c in row.question.lower() if c.isalnum()) for row in train} & questions
    assert load_splits(settings(path, "drop_leakage")).fingerprint == after.fingerprint != before.fingerprint
    # Its place among the filters makes no difference, and the limit applies after it.
    limited = load_splits(settings(path, "drop_leakage", "drop_empty", limit=5))
    assert limited.train_rows_before_limit == len(after.train)


def test_a_dataset_that_is_all_copies_is_refused(tmp_path):
    rows = [{"instruction": "Say it again", "output": str(n)} for n in range(20)]
    message = load_error(settings(write(tmp_path / "rows.json", rows), "drop_leakage"))
    assert "Every training row" in message
    assert "remove drop_leakage from data.filters" in message


def test_the_ledger_adds_up(tmp_path):
    rows = [*make_rows(30, with_input=10), {"instruction": " ", "input": "", "output": "x"}]
    splits = load_splits(
        settings(write(tmp_path / "rows.json", rows), "drop_empty", "without_input", "drop_leakage", limit=5)
    )

    before = splits.rows_loaded
    for entry in splits.ledger:
        assert entry.kept + entry.dropped == before
        before = entry.kept
    assert [entry.dropped for entry in splits.ledger] == [1, 10, 0]
    assert splits.train_rows_before_limit + len(splits.test) == before


def test_without_filters_nothing_is_dropped(tmp_path):
    splits = load_splits(settings(write(tmp_path / "rows.json", make_rows(10, with_input=5))))
    assert splits.ledger == ()
    assert len(splits.train) + len(splits.test) == splits.rows_loaded == 10


def test_a_blank_input_is_no_input(tmp_path):
    # The lesson compares with the empty string. Its dataset was stripped when it was made, so both give the same rows.
    rows = [*make_rows(10), {"instruction": "i", "input": " ", "output": "o"}]
    splits = load_splits(settings(write(tmp_path / "rows.json", rows), "without_input"))
    assert splits.ledger == (LedgerEntry("without_input", 11, 0),)


def test_the_limit_caps_training_rows_only(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(50))
    whole = load_splits(settings(path))
    capped = load_splits(settings(path, limit=7))

    assert examples(capped.train) == examples(whole.train)[:7]
    assert examples(capped.test) == examples(whole.test)
    assert capped.train_rows_before_limit == whole.train_rows_before_limit == 40
    assert len(load_splits(settings(path, limit=1000)).train) == 40


def test_the_splits_have_the_three_text_columns_and_no_other(tmp_path):
    rows = [{"id": n, "output": "o", "instruction": "i", "input": "", "text": "t"} for n in range(10)]
    splits = load_splits(settings(write(tmp_path / "rows.jsonl", rows)))
    for part in (splits.train, splits.test):
        assert part.features == {name: datasets.Value("string") for name in COLUMNS}
        assert part.column_names == COLUMNS


def test_duplicate_rows_are_kept(tmp_path):
    splits = load_splits(settings(write(tmp_path / "rows.json", make_rows(1) * 10)))
    assert (len(splits.train), len(splits.test)) == (8, 2)


def test_source_and_licence_are_recorded(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.jsonl", make_rows(10))
    own = load_splits(settings(path))
    assert (own.source, own.licence) == (str(path), "unknown")

    monkeypatch.setattr(sources, "BUNDLED_FILE", path)
    bundled = load_splits(settings("bundled"))
    assert (bundled.source, bundled.licence) == ("bundled", "CC0-1.0")
    assert everything(bundled) == everything(own)


# The fingerprint


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(10))
    code = (
        "import sys; from instruct_tune.data.splits import load_splits;"
        "from instruct_tune.config.run_config import DataSettings;"
        "print(load_splits(DataSettings(source=sys.argv[1])).fingerprint)"
    )
    root = Path(__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, check=True)
    fingerprint = load_splits(DataSettings(source=str(path))).fingerprint
    assert other.stdout.strip() == fingerprint
    assert len(fingerprint) == 16
    assert int(fingerprint, 16) >= 0


def test_the_fingerprint_follows_the_rows_and_nothing_else(tmp_path):
    rows = make_rows(10)
    first = load_splits(settings(write(tmp_path / "first.json", rows))).fingerprint
    assert load_splits(settings(write(tmp_path / "renamed.csv", rows))).fingerprint == first

    changed = [*rows[:9], {**rows[9], "output": "Done otherwise"}]
    prints = {
        first,
        load_splits(settings(write(tmp_path / "first.json", changed))).fingerprint,
        load_splits(settings(write(tmp_path / "first.json", rows), seed=1)).fingerprint,
        load_splits(settings(write(tmp_path / "first.json", rows), limit=3)).fingerprint,
        load_splits(settings(write(tmp_path / "first.json", rows), test_size=0.3)).fingerprint,
    }
    assert len(prints) == 5


def test_text_that_moves_to_the_next_column_changes_the_fingerprint(tmp_path):
    one = [{"instruction": "ab", "input": "c", "output": "d"}] * 5
    two = [{"instruction": "a", "input": "bc", "output": "d"}] * 5
    prints = [load_splits(settings(write(tmp_path / "rows.json", rows))).fingerprint for rows in (one, two)]
    assert prints[0] != prints[1]


def test_a_row_that_moves_from_training_to_held_out_changes_the_fingerprint(tmp_path):
    path = write(tmp_path / "rows.json", make_rows(1) * 10)
    prints = [load_splits(settings(path, test_size=test_size)).fingerprint for test_size in (0.2, 0.3)]
    assert prints[0] != prints[1]


# Slices


def test_examples_of_a_part(tmp_path):
    test = load_splits(settings(write(tmp_path / "rows.json", make_rows(50)))).test
    whole = examples(test)
    assert len(whole) == 10
    assert isinstance(whole[0], Example)
    assert whole[0].output == whole[0].instruction.replace("Do ", "Done ")
    assert examples(test, start=3, count=4) == whole[3:7]
    assert examples(test, start=8, count=5) == whole[8:]
    assert examples(test, start=20, count=5) == examples(test, count=0) == []


@pytest.mark.parametrize(
    ("evaluation_rows", "probe_rows", "evaluated", "probed"),
    [(4, 3, 4, 3), (4, 100, 4, 6), (10, 3, 10, 0), (100, 3, 10, 0), (4, 0, 4, 0), (None, 3, 10, 0)],
)
def test_probe_rows_never_overlap_evaluation_rows(tmp_path, evaluation_rows, probe_rows, evaluated, probed):
    test = load_splits(settings(write(tmp_path / "rows.json", make_rows(50)))).test
    evaluation = examples(take_evaluation_rows(test, evaluation_rows))
    probe = examples(take_probe_rows(test, evaluation_rows, probe_rows))
    assert (len(evaluation), len(probe)) == (evaluated, probed)
    assert evaluation + probe == examples(test)[: evaluated + probed]
    assert not set(evaluation) & set(probe)
