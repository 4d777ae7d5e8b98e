"""Evaluate's sentences and tables of numbers, and the page of rows with its filters."""

from __future__ import annotations

import pytest

from instruct_tune.ui.evaluate import text as view
from instruct_tune.ui.evaluate.result import scores
from instruct_tune.ui.evaluate.text import (
    ALL,
    BASE_UNENDED,
    BEST,
    BETTER,
    CHANGED,
    DIFFER,
    PAGE,
    SPLIT,
    UNENDED,
    WORSE,
    WORST,
    Wanted,
    page_of,
)
from instruct_tune.ui.run_text import verdict_text

REPORT = {
    "bleu": 8.94, "precisions": [30, 12, 6, 3.14], "bp": 1.0, "sys_len": 1440, "ref_len": 1000,
    "signature": "nrefs:1", "ci": [5.5, 12.25], "chrf": 33.3,
}  # fmt: skip
FOUND = {
    "seq": 3, "time": 1.7e9, "rows": 40, "p_value": 0.013, "delta": 6.76, "base_ended": 8, "tuned_ended": 31,
    "base": REPORT, "tuned": {**REPORT, "bleu": 15.7, "ci": [10.0, 22.0]}, "data_fingerprint": "abc",
    "generation": {"max_new_tokens": 96, "max_length": None, "num_beams": 1, "do_sample": False},
    "tokenize": "13a", "delta_ci": None, "parsed": {"rows": 0}, "baselines": {}, "other_weights": None, "warnings": [],
}  # fmt: skip
UNFINISHED = {
    "answered": 23, "rows": 40, "time": 1.7e9, "generation": FOUND["generation"], "baselines": [], "tokenize": "13a",
}  # fmt: skip


def row(number, base=10.0, tuned=20.0, ended=True):
    return {
        "instruction": f"Instruction {number}", "input": "", "reference": "right", "base": "left", "tuned": "right",
        "base_ended": False, "tuned_ended": ended, "base_chrf": base, "tuned_chrf": tuned,
    }  # fmt: skip


ROWS = [row(1, 10, 20), row(2, 50, 10, ended=False), row(3, 10, 10), row(4, 0, 90) | {"base": "right"}]


def numbers(**wanted):
    return [cells[0] for cells in page_of(ROWS, Wanted(**wanted)).cells]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [(CHANGED, [4, 2, 1, 3]), (BEST, [4, 1, 3, 2]), (WORST, [2, 3, 1, 4]), (SPLIT, [1, 2, 3, 4])],
)
def test_rows_are_sorted(sort, expected):
    assert numbers(sort=sort) == expected


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        (ALL, [1, 2, 3, 4]),
        (WORSE, [2]),
        (BETTER, [1, 4]),
        (UNENDED, [2]),
        (DIFFER, [1, 2, 3]),
        (BASE_UNENDED, [1, 2, 3, 4]),
    ],
)
def test_rows_are_filtered(show, expected):
    assert numbers(show=show, sort=SPLIT) == expected


def test_rows_are_searched_in_all_their_texts_whatever_the_case():
    assert numbers(search=" instruction 3 ") == [3]
    assert len(numbers(search="LEFT")) == 3
    assert page_of(ROWS, Wanted(search="[x")).sentence == "No such row."
    assert numbers(search="instruction", show=WORSE) == [2]


def test_no_more_than_a_page_is_sent_and_no_long_text():
    rows = [{**row(n), "tuned": "x" * 100_000} for n in range(1, 3 * PAGE)]
    page = page_of(rows, Wanted(sort=SPLIT, page=2))
    assert [cells[0] for cells in page.cells] == list(range(PAGE + 1, 2 * PAGE + 1))
    assert max(len(str(cell)) for cells in page.cells for cell in cells) <= view.CELL
    assert page.cells[0][-1].endswith("…")
    assert page.sentence == f"{3 * PAGE - 1} rows · page 2 of 3"
    assert page_of(rows, Wanted(page=99)).number == 3
    assert page_of(rows, Wanted(page=-5)).number == 1
    assert page_of([], Wanted()).pages == 1


def test_a_gain_has_its_sign():
    assert [cells[1] for cells in page_of(ROWS, Wanted(sort=SPLIT)).cells] == ["+10.0", "-40.0", "+0.0", "+90.0"]


def test_the_sentence_leads_with_the_result():
    text = view.sentence(FOUND)
    assert text.startswith("**Tuned 15.7 vs base 8.9 BLEU** on 40 held-out rows, difference **+6.8** (")
    assert "p = 0.013" in text
    assert "31 of 40 tuned answers end by themselves, 8 of base." in text
    assert "on 1 held-out row, " in view.sentence({**FOUND, "rows": 1, "p_value": None})
    assert "on 40 held-out rows, " in view.sentence({**FOUND, "rows_requested": 40})
    fewer = view.sentence({**FOUND, "rows": 187, "rows_requested": 500})
    assert "on all 187 held-out rows (500 were asked for), difference" in fewer


def test_a_verdict_is_shown_letter_by_letter():
    text = verdict_text({"sentence": "Hit max_new_tokens 8 at 0.02.", "advice": "Try *more*."})
    assert text.replace("\\", "") == "**What the numbers say:** Hit max_new_tokens 8 at 0.02. **Try *more*.**"
    assert "\\*more\\*" in text
    assert verdict_text(None) == ""


def test_which_evaluation_it_is_can_be_seen():
    ((label, seq),) = view.choices([FOUND])
    assert seq == 3
    assert "2023" in label
    assert label.endswith("40 rows · Greedy decoding, at most 96 new tokens · +6.8 BLEU")


def test_measures_that_were_not_taken_are_left_open():
    table = {name: (base, tuned) for name, base, tuned in view.score_rows(FOUND)}
    assert table["BLEU"] == ("8.94", "15.70")
    assert table["95% interval"] == ("5.5 to 12.2", "10.0 to 22.0")
    assert table["ended by themselves"] == ("8", "31")
    assert table["empty answers"] == ("—", "—")


def test_progress_is_a_sentence():
    assert view.progress({"error": "Stopped after 3 of 80 answers; nothing was scored."}).replace("\\", "") == (
        "**Stopped after 3 of 80 answers; nothing was scored.**"
    )
    assert view.progress({"done": 0, "total": 80}) == "**Answering**: 0 of 80 answers (base and tuned)"
    work = {"done": 40, "total": 80, "answers_per_second": 2.04, "seconds_left": 19.6}
    assert view.progress(work).endswith("(base and tuned) · 2.0 answers/s · at most 20 s left")
    estimate = {"rows": 20, "base": 8.0, "tuned": 17.0, "delta_ci": [2.0, 16.5]}
    text = view.progress({**work, "estimate": estimate})
    part = "on 20 rows: tuned 17.0, base 8.0 BLEU, difference +9.0 (95% interval +2.0 to +16.5). This is no result yet."
    assert part in text
    assert part in view.progress({"error": "Stopped.", "estimate": estimate})
    assert view.progress({"finished": True}) == ""


def test_an_unfinished_evaluation_says_how_many_rows_it_has_and_gives_no_number():
    text = view.left_behind(UNFINISHED)
    assert text.startswith("**Unfinished: 23 of 40 rows.**")
    assert "BLEU" not in text
    assert "at most 96 new tokens. What" in text
    more = {"baselines": ["chat", "nearest"], "tokenize": "zh"}
    with_options = view.left_behind({**UNFINISHED, **more})
    assert "96 new tokens · tokenisation zh · with baselines: chat template, nearest row. What" in with_options


def test_baselines_stand_beside_in_sentence_table_and_chart():
    chat = {**REPORT, "bleu": 11.2, "ci": [8.0, 31.0], "ended": 20}
    evaluation = {**FOUND, "baselines": {"nearest": {**REPORT, "bleu": 3.0}, "chat": chat}}
    assert view.sentence(evaluation).endswith(
        "Without any training: base, its own chat template, **11.2**; the nearest training row, **3.0**."
    )
    headers, lines = view.score_headers(evaluation), view.score_rows(evaluation)
    assert {len(line) for line in lines} == {len(headers)} == {5}
    assert next(line for line in lines if line[0] == "ended by themselves") == [
        "ended by themselves", "8", "31", "20", "—",
    ]  # fmt: skip
    chart = scores(evaluation)
    assert (chart["most"], chart["chat"]["bleu"], chart["examples"]["display"]) == ("35", "11.2", "none")
    assert chart["description"].endswith(
        "chat template 11.2, 95% interval 8.0 to 31.0; nearest row 3.0, 95% interval 5.5 to 12.2"
    )


def test_the_charts_axis_holds_both_intervals():
    chart = scores(FOUND)
    assert chart["most"] == "25"
    assert (chart["base"]["width"], chart["base"]["low"], chart["base"]["spread"]) == (35.76, 22.0, 27.0)
    assert chart["tuned"]["description"] == "15.7, 95% interval 10.0 to 22.0"
    for side in ("base", "tuned"):
        assert chart[side]["low"] + chart[side]["spread"] <= 100


def test_the_chart_of_one_row_and_of_a_perfect_score():
    one = scores({**FOUND, "base": {**REPORT, "ci": None}, "tuned": {**REPORT, "bleu": 100.00000000000004, "ci": None}})
    assert (one["base"]["spread"], one["base"]["description"]) == (0, "8.9")
    assert (one["tuned"]["width"], one["most"]) == (100, "100")


def test_another_tokenisation_is_named_and_a_warning_stands_under_the_result():
    evaluation = {**FOUND, "tokenize": "zh", "warnings": ["Written in *Chinese*."]}
    assert view.measured_when(evaluation).endswith("96 new tokens · tokenisation zh")
    assert view.sentence(evaluation).endswith("\n\n**Note:** Written in \\*Chinese\\*\\.")


def test_who_answers_is_shown_with_baselines():
    assert "40 of 120 answers (base, tuned and 1 baseline)" in view.progress({"done": 40, "total": 120, "baselines": 1})
    assert "(base, tuned and 2 baselines)" in view.progress({"done": 40, "total": 160, "baselines": 2})


@pytest.mark.parametrize(("share", "words"), [(0.2, "20%"), (0.004, "0.4%"), (0.125, "12.5%"), (0.07, "7%")])
def test_the_share_that_is_held_out_is_the_settings_own(share, words):
    entry = {"time": 0, "rows": 3, "tokenize": "13a", "generation": FOUND["generation"]}
    assert view.origin(entry, None, share).replace("\\", "").endswith(f"the run's own split, {words} held out")
