"""The list of filters: in words, with its counts, and after edits."""

import pytest

from instruct_tune.config.filters import (
    DROP_LEAKAGE,
    STEPS,
    ByHand,
    Contains,
    Filter,
    Language,
    Length,
    Matches,
    Sample,
)
from instruct_tune.errors import DataError, SettingsError
from instruct_tune.ui.data.filter_text import (
    KINDS,
    added,
    lines,
    loaded,
    moved,
    read_step,
    read_steps,
    removed,
    usual_for,
    with_leakage_step,
    words,
    write_steps,
)

WITHOUT, SHORT = Filter("without_input"), Length(max=200)
SUMMARY = {
    "rows_loaded": 1200, "test_rows": 100, "train_rows": 50, "train_rows_before_limit": 395,
    "ledger": [
        {"step": "without_input", "kept": 1100, "dropped": 100},
        {"step": "length", "kept": 500, "dropped": 600},
        {"step": "drop_leakage", "kept": 495, "dropped": 5},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (WITHOUT, "only rows without an input"),
        (SHORT, "answer of at most 200 characters"),
        (Length(of="row", unit="tokens", tokenizer="a/b", min=5, max=9), "row of 5 to 9 tokens of a/b"),
        (Contains(text="<b>" + "x" * 99, exclude=True), "row without the text “<b>" + "x" * 56 + "…”"),
        (Matches(of="input", pattern="a+"), "input matches “a+”"),
        (Language(language="none", exclude=True), "answer does not look like no known language"),
        (Sample(n=5000), "5,000 rows at random (seed 42)"),
        (ByHand("keep_rows", ("a",)), "only 1 row chosen by hand"),
    ],
)
def test_a_step_in_words(step, expected):
    assert words(step) == expected


def test_every_step_has_a_name_and_words():
    assert set(KINDS) == set(STEPS)
    assert all(words(step) for step in STEPS.values())


def test_a_line_has_its_counts_as_long_as_nothing_before_it_changed():
    steps = (DROP_LEAKAGE, WITHOUT, SHORT)
    last = loaded(steps, SUMMARY)
    assert "1,200 rows loaded → 495 kept → 100 held out" in last.sentence
    first, second, third = lines(steps, last)
    assert first.endswith("· kept 495, dropped 5")
    assert second.endswith("· kept 1,100, dropped 100")
    assert third.endswith("· kept 500, dropped 600")
    changed = lines((WITHOUT, DROP_LEAKAGE, SHORT), last)
    assert [line.endswith("not applied yet") for line in changed] == [True, True, True]
    assert lines(steps, None)[1] == "2. only rows without an input"
    later = loaded((WITHOUT, SHORT), {**SUMMARY, "ledger": SUMMARY["ledger"][:2]})
    assert [line.endswith("not applied yet") for line in lines((WITHOUT, Sample(n=3)), later)] == [False, True]


def test_steps_are_moved_removed_and_added():
    steps = (WITHOUT, SHORT, DROP_LEAKAGE)
    assert moved(steps, 1, -1) == ((SHORT, WITHOUT, DROP_LEAKAGE), 0)
    assert moved(steps, 2, 1) == (steps, 2)
    assert removed(steps, 2) == ((WITHOUT, SHORT), 1)
    assert removed((WITHOUT,), 0) == ((), 0)
    assert with_leakage_step(with_leakage_step(steps, False), True) == steps
    first, _ = added((WITHOUT,), ByHand("drop_rows", ("a", "b")))
    assert added(first, ByHand("drop_rows", ("b", "c")))[0][1:] == (ByHand("drop_rows", ("a", "b", "c")),)
    # A sample drawn in between would be another one.
    apart, _ = added((*first, Sample(n=3)), ByHand("drop_rows", ("c",)))
    assert len(apart) == 4


def test_the_lesson_s_filter_comes_and_goes_with_its_rows():
    assert usual_for("hub:some/rows", (WITHOUT, SHORT)) == (SHORT,)
    assert usual_for("bundled", (SHORT,)) == (WITHOUT, SHORT)
    assert usual_for("bundled", (WITHOUT,)) == (WITHOUT,)


def test_what_is_written_is_read_again():
    steps = (SHORT, Contains(text="é<script>\u202e"), ByHand("drop_rows", ("a",)))
    assert read_steps(write_steps(steps)) == steps
    assert (read_steps(None), write_steps(())) == ((), "")
    with pytest.raises(SettingsError, match="must be a list of steps"):
        read_steps("[oops")


def test_a_fault_of_one_step_names_its_own_fields():
    with pytest.raises(DataError, match=r"^The filter cannot be used: pattern is no regular expression"):
        read_step({"step": "matches", "pattern": "("})
    with pytest.raises(DataError, match=r"^The filter cannot be used: it needs min or max"):
        read_step({"step": "length"})
    with pytest.raises(DataError, match="n must be a whole number"):
        read_step({"step": "sample", "n": None})
