"""The dataset report in words and bars: the order of its findings, its counts, and the position of max_length."""

from hashlib import sha256

import pytest

from instruct_tune.data.splits import Example
from instruct_tune.inspection.dataset_report import make_report
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.tokenization.prompt_template import LESSON
from instruct_tune.ui.data.text import FINE, charts, findings, leak_rows, pairs_title, report_sentences, twin_rows

ROWS = [Example(f"Tell me {sha256(bytes([n])).hexdigest()[:24]}", "", "x" * (n + 1)) for n in range(30)]


def report_of(train, test, max_length=1000, tokenizer=True):
    report = make_report(train, test, byte_tokenizer() if tokenizer else None, LESSON, max_length).to_dict()
    return {**report, "rows": report["reported"]}


def test_clean_rows_would_spoil_nothing():
    report = report_of(ROWS[:25], ROWS[25:])
    assert findings(report, "drop") == []
    assert report_sentences(report, "drop").startswith(f"**{FINE}**")
    assert leak_rows(report) == twin_rows(report) == []


@pytest.mark.parametrize(
    ("share", "words"), [(0, "None"), (0.003, "0.3%"), (0.4, "40%"), (0.9999, ">99.9%"), (1, "100%")]
)
def test_a_small_share_of_inputs_is_not_none_and_a_large_one_not_all(share, words):
    report = {**report_of(ROWS[:25], ROWS[25:]), "with_input": share}
    assert f". {words} of the training rows have an input." in report_sentences(report, "drop")


def test_the_worst_leads_and_all_else_follows():
    train = [*ROWS[:20], ROWS[0], Example(ROWS[1].instruction, "", "something else"), Example("Why?", "", " ")]
    report = report_of(train, [ROWS[3], ROWS[25]], max_length=75)
    sentences = findings(report, "truncate")
    assert sentences[0] == "1 of 2 held-out rows has a near copy among the training rows: its score flatters."
    assert "of 23 training rows" in sentences[1]
    assert sentences[1].endswith("cut, and a cut answer does not learn to end.")
    assert sentences[2].startswith("1 row has an empty answer")
    assert sentences[3].startswith("1 question is asked more than once in training")
    assert sentences[4] == "1 training row repeats another one word for word."
    assert findings(report, "drop")[1].endswith("dropped.")


def test_pairs_are_numbered_from_one_as_the_table_of_rows_is():
    report = report_of([*ROWS[:5], ROWS[2], Example(ROWS[3].instruction, "", "other")], [ROWS[9], ROWS[1]])
    question = ROWS[1].instruction
    assert leak_rows(report) == [["1.00", 2, question, 2, question]]
    # Those with different answers come first: they do harm.
    assert [row[1:6:2] for row in twin_rows(report)] == [[4, 7, "different"], [3, 6, "the same"]]
    assert pairs_title("Pairs", [1], 1) == "Pairs: 1"
    assert pairs_title("Pairs", [1] * 100, 2000) == "Pairs: 2,000 (the first 100 shown)"


@pytest.mark.parametrize("max_length", [75, 85])
def test_the_line_stands_where_the_limit_is(max_length):
    report = report_of(ROWS, ROWS[:1], max_length)
    row = charts(report)[0]
    width = report["lengths"]["row_tokens"]["edges"][1]
    assert row["limit"] == pytest.approx(100 * max_length / (24 * width), abs=0.01)
    over = sum(len(LESSON.render(each.instruction).encode()) + len(each.output) + 1 > max_length for each in ROWS)
    assert f"{over} over max_length {max_length}" in row["description"]
    assert [chart["limit"] for chart in charts(report)[3:]] == [None, None]


def test_a_limit_among_the_few_longest_stands_at_the_end():
    row = charts(report_of([*ROWS * 4, Example("Write.", "", "x" * 5000)], ROWS[:1]))[0]
    assert (row["limit"], row["ticks"][-1]) == (100, "96 and more")
    assert "1 over max_length 1,000" in row["description"]


def test_a_limit_beyond_all_rows_is_described_and_not_drawn():
    row = charts(report_of(ROWS, ROWS[:1]))[0]
    assert (row["limit"], row["description"].split("; ")[1]) == (None, "none over max_length 1,000")
    assert max(bar["height"] for bar in row["bars"]) == 100
    assert sum(int(bar["description"].split(": ")[1].split()[0]) for bar in row["bars"]) == len(ROWS)


def test_without_a_tokenizer_the_lengths_in_characters_are_there():
    report = report_of(ROWS, ROWS[:1], tokenizer=False)
    assert len(charts(report)) == 2
    assert "once the model is on this machine" in report_sentences(report, "drop")


def test_of_a_very_large_dataset_it_says_what_it_looked_at():
    report = report_of(ROWS, ROWS[:1]) | {"rows": {"train": 80_000, "test": 20_000}}
    assert "30 training and 1 held-out rows, the first of 80,000 and 20,000" in report_sentences(report, "drop")
