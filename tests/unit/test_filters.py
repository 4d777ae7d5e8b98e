"""Every step of the ledger: which rows it keeps, that its counts add up, and that no pattern runs for long."""

import json

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruct_tune.config.filters import (
    DROP_LEAKAGE,
    STEPS,
    ByHand,
    Contains,
    Filter,
    Language,
    Length,
    Matches,
    NearDuplicates,
    Sample,
)
from instruct_tune.config.run_config import DataSettings
from instruct_tune.data.filters import Texts, kept_by, row_id
from instruct_tune.data.splits import load_splits
from instruct_tune.errors import DataError
from instruct_tune.text import regex_search

ROWS = [
    ("Add two numbers", "2 and 3", "5"),
    ("Write a function that adds", "", "def add(a, b):\n    return a + b"),
    ("List all users", "", "SELECT name FROM users WHERE age > 3;"),
    ("Say hello in Arabic", "", "\u202eمرحبا <script>alert(1)</script> 🙂"),
    ("Write a function that adds", "", "def add(a, b):\n    return a + b"),
    ("Nothing", "", " "),
]
TEXTS = Texts(*map(list, zip(*ROWS, strict=True)))


def test_an_input_of_white_space_alone_is_none():
    texts = Texts(["a"] * 5, ["", " ", "\n\t", "\u00a0", " x "], ["b"] * 5)
    assert kept_by(Filter("without_input"), texts) == [0, 1, 2, 3]
    assert kept_by(Filter("with_input"), texts) == [4]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (Filter("without_input"), [1, 2, 3, 4, 5]),
        (Filter("with_input"), [0]),
        (Filter("drop_empty"), [0, 1, 2, 3, 4]),
        (Length(of="output", min=1, max=1), [0, 5]),
        (Length(of="input", min=1), [0]),
        (Length(of="row", max=10), [5]),
        (Length(of="row", min=11, max=25), [0]),
        (Contains(text="ADD"), [0, 1, 4]),
        (Contains(text="add", of="output", exclude=True), [0, 2, 3, 5]),
        (Contains(text="<script>"), [3]),
        (Contains(text="🙂", of="instruction"), []),
        (Matches(pattern=r"^\d+$", of="output"), [0]),
        (Matches(pattern=r"(?i)select\b|\bdef\b", exclude=True), [0, 3, 5]),
        (Matches(pattern="\u202e"), [3]),
        (Language(language="python"), [1, 4]),
        (Language(language="none"), [0, 3, 5]),
        (Language(language="sql", exclude=True), [0, 1, 3, 4, 5]),
        (Filter("drop_exact_duplicates"), [0, 1, 2, 3, 5]),
        (NearDuplicates(), [0, 1, 2, 3, 5]),
        (Sample(n=99), [0, 1, 2, 3, 4, 5]),
        (ByHand("keep_rows", (row_id(*ROWS[2]), "not there")), [2]),
        (ByHand("drop_rows", (row_id(*ROWS[1]),)), [0, 2, 3, 5]),
    ],
    ids=str,
)
def test_what_each_step_keeps(step, kept):
    assert kept_by(step, TEXTS) == kept


def test_near_duplicates_of_a_dropped_row_stay():
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    a, b, c = (" ".join([*words[:7], "x" * at, *words[7:]]) for at in (1, 5, 9))
    texts = Texts([a, b, c], [""] * 3, ["1"] * 3)
    assert kept_by(NearDuplicates(threshold=0.94), texts) == [0, 2]
    assert kept_by(NearDuplicates(threshold=0.85), texts) == [0]


def test_a_sample_is_the_same_each_time_and_another_with_another_seed():
    texts = Texts([str(n) for n in range(100)], [""] * 100, ["x"] * 100)
    first = kept_by(Sample(n=10, seed=1), texts)
    assert len(first) == 10
    assert first == sorted(first) == kept_by(Sample(n=10, seed=1), texts)
    assert first != kept_by(Sample(n=10, seed=2), texts)


HOSTILE = ["(a+)+$", "(a|aa)+$", "(.*)*b", r"(?=(\w+)+\d)", r"(.*)\1\1\1$", "(?:(?:a{0,9}){0,9}){0,9}b"]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_pattern_that_takes_for_ever_is_given_up(monkeypatch, pattern):
    monkeypatch.setattr(regex_search, "SECONDS", 0.5)
    texts = Texts(["a" * 20_000 + "!"], [""], ["x"])
    with pytest.raises(DataError, match=r"given up after 0\.5 seconds"):
        kept_by(Matches(pattern=pattern), texts)


@pytest.mark.parametrize("pattern", [r"(?:((.)|(..))*)*$", r"((a)|(b))*c", r"(?:(a)?)+b"])
def test_a_pattern_that_takes_the_memory_is_given_up(monkeypatch, pattern):
    """Memory runs out in the process that searches, and nowhere else."""
    monkeypatch.setattr(regex_search, "SECONDS", 60)
    texts = Texts(["a" * 8_000_000], [""], ["x"])
    with pytest.raises(DataError, match="takes too much memory: write it simpler"):
        kept_by(Matches(pattern=pattern), texts)


def test_an_honest_pattern_has_the_memory_it_needs():
    texts = Texts(["é🙂 list " * 100] * 20_000, [""] * 20_000, ["x"] * 20_000)
    assert len(kept_by(Matches(pattern=r"\blist\b.*list"), texts)) == 20_000


def test_tokens_are_counted_by_the_named_model(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_CACHE_DIR", str(tmp_path))
    short, long = kept_by(Length(unit="tokens", tokenizer="tiny-random", max=3), TEXTS), len(ROWS)
    assert 0 in short
    assert 1 not in short
    assert len(short) < long


STEP = st.one_of(
    st.sampled_from([Filter(name) for name, usual in STEPS.items() if type(usual) is Filter]),
    st.builds(Length, of=st.sampled_from(["input", "output", "row"]), min=st.integers(0, 4), max=st.integers(5, 90)),
    st.builds(Contains, text=st.sampled_from(["a", "B", "?"]), exclude=st.booleans()),
    st.builds(Language, language=st.sampled_from(["none", "python"])),
    st.builds(NearDuplicates, threshold=st.floats(0.7, 1)),
    st.builds(Sample, n=st.integers(1, 30), seed=st.integers(0, 9)),
)
ROW = st.fixed_dictionaries({name: st.text("ab B\u202e🙂", max_size=6) for name in ("instruction", "input", "output")})


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.lists(ROW, min_size=2, max_size=30), st.lists(STEP, max_size=4))
def test_kept_and_dropped_always_add_up(tmp_path_factory, rows, steps):
    file = tmp_path_factory.getbasetemp() / "ledger-rows.json"
    file.write_text(json.dumps(rows))
    data = DataSettings(source=str(file), filters=tuple(steps), limit=None)
    try:
        splits = load_splits(data)
    except DataError:
        return  # no row is left, and the error states it
    before = splits.rows_loaded
    assert [entry.step for entry in splits.ledger if entry.step != "drop_leakage"] == [
        step.step for step in steps if step != DROP_LEAKAGE
    ]
    for entry in splits.ledger:
        assert entry.kept + entry.dropped == before
        before = entry.kept
    assert len(splits.train) + len(splits.test) == before
    assert splits.fingerprint == load_splits(data).fingerprint


def test_the_order_of_the_steps_matters(tmp_path):
    file = tmp_path / "rows.json"
    rows = [{"instruction": f"Do {n}", "input": "x" * (n % 2), "output": "y"} for n in range(40)]
    file.write_text(json.dumps(rows))
    steps = (Sample(n=20), Filter("without_input"))
    ledgers = [
        [(entry.step, entry.kept) for entry in load_splits(DataSettings(source=str(file), filters=order)).ledger]
        for order in (steps, steps[::-1])
    ]
    assert ledgers[1] == [("without_input", 20), ("sample", 20)]
    assert ledgers[0][0] == ("sample", 20)
    assert ledgers[0][1][1] < 20


def test_filtering_gives_what_the_librarys_own_filter_gives(tmp_path):
    rows = [{"instruction": f"Do {n}", "input": "x" * (n % 3), "output": "y" * n} for n in range(60)]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    theirs = datasets.Dataset.from_list(rows).filter(lambda row: len(row["output"]) >= 9 and not row["input"])
    parts = theirs.shuffle(seed=42).train_test_split(test_size=0.2, seed=42)
    data = DataSettings(source=str(file), filters=(Length(min=9), Filter("without_input")), limit=None)
    assert load_splits(data).train.to_list() == parts["train"].to_list()
