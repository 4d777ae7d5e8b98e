"""The card that explains the lesson's scores: it shows measured numbers and marks the printed ones."""

from __future__ import annotations

import copy

import pytest
from labs import smoke

from benchmarks import why_04
from instruct_tune.config.viewer import HOST
from instruct_tune.evaluation.lesson_scores import PRINTED, measured
from instruct_tune.ui.evaluate import lesson_score as panel


def test_the_asset_holds_every_setting_and_no_text():
    scores = measured()
    assert [one["name"] for one in scores["measured"]] == list(why_04.PLAN)
    for one, (rows, over) in zip(scores["measured"], why_04.PLAN.values(), strict=True):
        assert one["rows"] == rows
        assert {**why_04.LESSON_CALL, **over}.items() <= one["generation"].items()
        assert one["delta"] == pytest.approx(one["tuned"]["bleu"] - one["base"]["bleu"])


def test_what_was_printed_is_kept_apart_from_what_was_measured():
    scores = measured()
    first, *others = panel.lines(scores)
    assert first[1:3] == [f"{score}" for score in PRINTED]
    assert first[-1] == "printed in the lesson, not reproduced here"
    assert all(line[-1].startswith("measured here, ") for line in others)
    assert {len(line) for line in (first, *others)} == {len(panel.HEADERS)} == {len(panel.WIDTHS)}


def test_the_words_follow_the_numbers():
    scores = copy.deepcopy(measured())
    scores["measured"][0]["tuned"]["bleu"] = 77.7
    assert panel.causes(scores).count("77.7") == 3
    assert panel.causes(scores) != panel.causes(measured())


@pytest.mark.usefixtures("one_thread")
def test_the_script_measures_once_and_writes_numbers_only(lab):
    plan = {"lesson_call": (2, {}), "room": (2, {"max_new_tokens": 4, "max_length": None})}
    result = why_04.measure(lab, smoke(), plan)
    runs, evaluations = (
        len(lab.runs.summaries(HOST)),
        len(lab.runs.evaluations(HOST, lab.runs.summaries(HOST)[0]["id"])),
    )
    assert evaluations == 2
    assert why_04.measure(lab, smoke(), plan) == result
    assert (len(lab.runs.summaries(HOST)), len(lab.runs.evaluations(HOST, lab.runs.summaries(HOST)[0]["id"]))) == (
        runs,
        evaluations,
    )
    assert [one["generation"]["max_length"] for one in result["measured"]] == [50, None]
    assert set(result["measured"][0]) == set(measured()["measured"][0])
