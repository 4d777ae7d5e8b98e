"""The dataset report: its counts on rows with known results."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instruct_tune.config.viewer import HOST
from instruct_tune.data.splits import Example
from instruct_tune.inspection.dataset_report import describe, make_report
from instruct_tune.lab import Lab
from instruct_tune.pretrained.tiny_random import byte_tokenizer
from instruct_tune.tokenization.prompt_template import LESSON

TRAIN = [
    Example("Add two numbers and return their sum.", "", "a + b"),
    Example("Add two numbers and return their sum.", "", "sum((a, b))"),
    Example("Name the capital of France.", "", "Paris"),
    Example("Name the capital of France.", "", "Paris"),
    Example("Sort these words.", "pear apple", "apple pear"),
    Example("Say nothing.", "", " "),
]
TEST = [
    Example("Add two numbers, and return their sum.", "", "a + b"),
    Example("Count the vowels in a text.", "", "sum(c in 'aeiou' for c in text)"),
    Example("Say nothing to this either.", "", ""),
]


@pytest.fixture(scope="module")
def report():
    return make_report(TRAIN, TEST, byte_tokenizer(), LESSON, max_length=70).to_dict()


def test_counts(report):
    assert (report["reported"], report["empty_answers"]) == ({"train": 6, "test": 3}, 1)
    assert report["with_input"] == pytest.approx(1 / 6)


def test_duplicates_say_whether_the_answers_agree(report):
    duplicates = report["duplicates"]
    assert (duplicates["exact"], duplicates["near"], duplicates["conflicting"]) == (1, 2, 1)
    assert [(p["first"], p["second"], p["same_answer"]) for p in duplicates["pairs"]] == [(0, 1, False), (2, 3, True)]


def test_a_held_out_row_with_a_copy_in_training_is_a_leak(report):
    (leak,) = report["leakage"]["pairs"]
    assert (leak["test_row"], leak["train_row"]) == (0, 0)
    assert 0.9 <= leak["similarity"] < 1
    assert report["leakage"]["rows"] == 1


def test_token_lengths_are_those_of_the_rows_the_trainer_gets(report):
    lengths = [len(LESSON.render(row.instruction, row.input).encode()) + len(row.output) + 1 for row in TRAIN]
    assert report["lengths"]["row_tokens"]["max"] == max(lengths)
    assert report["lengths"]["row_tokens"]["mean"] == pytest.approx(sum(lengths) / 6)
    assert report["dropped_by_max_length"] == sum(length > 70 for length in lengths) > 0


def test_without_a_tokenizer_there_are_characters_only():
    result = make_report(TRAIN, TEST, None, LESSON, max_length=70).to_dict()
    assert set(result["lengths"]) == {"prompt_characters", "answer_characters"}
    assert result["dropped_by_max_length"] == 0


def test_only_the_first_rows_of_a_very_large_part_are_looked_at(tmp_path, monkeypatch):
    rows = [{"instruction": f"Say {n}", "output": str(n)} for n in range(50)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    config = {"model": "tiny-random", "data": {"source": str(tmp_path / "rows.json"), "filters": [], "limit": 5}}
    monkeypatch.setattr("instruct_tune.inspection.dataset_report.MAX_ROWS", 30)
    result = Lab(tmp_path, writing=False).datasets.report(HOST, config)
    assert (result["rows"], result["reported"]) == ({"train": 40, "test": 10}, {"train": 30, "test": 10})


def test_lengths_in_tokens_wait_for_a_model_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "rows.json").write_text(json.dumps([{"instruction": "Say", "output": "a"}] * 20))
    config = {"model": "some/model", "data": {"source": str(tmp_path / "rows.json"), "filters": []}}
    monkeypatch.setattr("instruct_tune.pretrained.locate.at_hand", lambda model: None)
    result = Lab(tmp_path, writing=False).datasets.report(HOST, config, waits=False)
    assert set(result["lengths"]) == {"prompt_characters", "answer_characters"}
    assert result["duplicates"]["exact"] == 15


@settings(deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=300))
def test_a_histogram_has_every_row_once_in_its_bin(values):
    histogram = describe(values)
    assert sum(histogram.counts) == len(values)
    for low, high, count in zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False):
        assert count == sum(low <= value < high for value in values)
    assert histogram.max == max(values)
