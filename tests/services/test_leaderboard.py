"""The leaderboard: one table for runs measured alike, and a lead claimed only where the test supports it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
from labs import smoke, trained
from sacrebleu_texts import corpus

from instruct_tune.cli.commands import main
from instruct_tune.config.run_config import GenerationSettings
from instruct_tune.config.viewer import HOST
from instruct_tune.errors import LabError
from instruct_tune.evaluation import leaderboard as module
from instruct_tune.evaluation.bleu import paired_test, score
from instruct_tune.evaluation.leaderboard import Entry, differing, leaderboard_tables, rows_fingerprint
from instruct_tune.services.access import Access
from instruct_tune.ui.evaluate import leaderboard as panel

GREEDY = dataclasses.asdict(GenerationSettings())
BEAMS = dataclasses.asdict(GenerationSettings(num_beams=5))
WEAK, REFERENCES = corpus(30, 0.5)
ALMOST = [text if n != 3 else REFERENCES[n] for n, text in enumerate(WEAK)]
GOOD, _ = corpus(30, 0.95)


def entry(name: str, tuned: list[str], seq: int = 1, **over) -> Entry:
    rows = [
        {"instruction": f"row {n}", "input": "", "reference": r, "base": b, "tuned": t}
        for n, (r, b, t) in enumerate(zip(REFERENCES, WEAK, tuned, strict=True))
    ]
    base, report = (score(texts, REFERENCES, bootstrap=50).to_dict() for texts in (WEAK, tuned))
    evaluation = {
        "seq": seq, "base": base, "tuned": report, "delta": report["bleu"] - base["bleu"], "delta_ci": [1.0, 2.0],
        "p_value": paired_test(WEAK, tuned, REFERENCES), "tokenize": "13a", "weights_sha256": "a" * 64,
        "generation": GREEDY,
    }  # fmt: skip
    return Entry(name, name, "lesson", {**evaluation, **over}, rows)


@pytest.fixture(scope="module")
def three() -> list[Entry]:
    return [entry("weak", WEAK), entry("good", GOOD), entry("almost", ALMOST)]


def test_runs_stand_by_score_beside_one_base_with_the_test_against_the_leader(three):
    (table,) = leaderboard_tables(three)
    assert [run["name"] for run in table["runs"]] == ["good", "almost", "weak"]
    assert table["base"]["bleu"] == score(WEAK, REFERENCES, bootstrap=0).bleu
    assert table["runs"][0]["p_leader"] is None
    assert [run["p_leader"] for run in table["runs"][1:]] == [
        paired_test(texts, GOOD, REFERENCES) for texts in (ALMOST, WEAK)
    ]
    assert "good scores" in table["sentence"]
    assert "it leads all 2 others by more than chance (p = 0.001)." in table["sentence"]


def test_looking_again_tests_nothing_again_and_what_is_remembered_is_bounded(three, monkeypatch):
    tested = []
    monkeypatch.setattr(module, "_P_VALUES", {})
    monkeypatch.setattr(module, "paired_test", lambda *texts, tokenize: tested.append(texts) or paired_test(*texts))
    first = leaderboard_tables(three)
    assert len(tested) == 2
    assert leaderboard_tables(three) == first
    assert len(tested) == 2
    monkeypatch.setattr(module, "MAX_TESTED", 2)
    leaderboard_tables([replace(three[1], rows=three[2].rows, run_id="another"), *three])
    # With another leader all three are tested again.
    assert (len(tested), len(module._P_VALUES)) == (5, 2)


def test_a_lead_that_could_be_chance_is_none(three):
    (table,) = leaderboard_tables([three[0], three[2]])
    assert table["sentence"].endswith("that it is ahead of weak could be chance.")
    (alone,) = leaderboard_tables(three[1:2])
    assert alone["sentence"].endswith("no other run was measured like it.")
    (none,) = leaderboard_tables(three[:1])
    assert none["sentence"].startswith("No run scores above base (")


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (lambda e: replace(e, rows=[*e.rows[:-1], {**e.rows[-1], "reference": "x"}]), "rows_fingerprint"),
        (lambda e: replace(e, rows=e.rows[::-1]), "rows_fingerprint"),
        (lambda e: replace(e, chat_markup={"chat_before": "Today is Monday. ", "chat_after": ""}), "chat_markup"),
        (lambda e: replace(e, template="alpaca"), "template"),
        (lambda e: replace(e, found={**e.found, "generation": BEAMS}), "generation"),
        (lambda e: replace(e, found={**e.found, "weights_sha256": "b" * 64}), "weights_sha256"),
        (
            lambda e: replace(e, found={**e.found, "tuned": {**e.found["tuned"], "signature": "nrefs:1|tok:char|x"}}),
            "signature",
        ),
    ],
)  # fmt: skip
def test_what_was_measured_otherwise_stands_in_another_table(three, other, what):
    tables = leaderboard_tables([*three[:2], other(three[2])])
    assert [len(table["runs"]) for table in tables] == [2, 1]
    assert differing(tables) == [what]
    assert panel.introduction(tables).endswith(f"What differs: {panel.WHAT[what]}.")
    assert len({label for label, _ in panel.choices(tables)}) == 2


def test_a_table_is_chosen_by_its_ruler_whatever_was_measured_meanwhile(three):
    board = {"now": leaderboard_tables([*three[:2], replace(three[2], template="alpaca")])}
    with gr.Blocks():
        chooser = panel.LeaderboardPanel(
            gr.Dropdown(),
            evaluations=SimpleNamespace(leaderboard=lambda viewer: board["now"]),
            access=Access(None, multi_user=False),
        )
    first, second = (key for _, key in panel.choices(board["now"]))
    alpaca, _ = chooser._choose(second)
    # The table of the run that is chosen on the page comes first.
    assert [chooser._read(run)[1].value for run in ("weak", None)] == [first, first]
    assert chooser._read(three[2].run_id)[1].value == second
    # As if two more runs were measured like the second table: it comes first now.
    board["now"] = board["now"][::-1]
    assert chooser._choose(second)[0] == alpaca != chooser._choose(first)[0]
    board["now"] = board["now"][1:]
    with pytest.raises(LabError, match="then this one again"):
        chooser._choose(second)


def test_the_name_of_a_template_of_ones_own_makes_no_other_table(three):
    texts = {"without_input": "Q: {instruction}", "with_input": "Q: {instruction} {input}"}
    named = [texts, {**texts, "name": "mine"}, {**texts, "name": "the same again"}]
    (table,) = leaderboard_tables(
        [replace(each, template=template) for each, template in zip(three, named, strict=True)]
    )
    assert len(table["runs"]) == 3
    other = {**texts, "without_input": "{instruction}"}
    assert len(leaderboard_tables([replace(three[0], template=texts), replace(three[1], template=other)])) == 2


def test_a_run_stands_once_with_its_last_evaluation(three):
    (table,) = leaderboard_tables([replace(three[1], found={**three[1].found, "seq": 9}), *three])
    assert [run["seq"] for run in table["runs"] if run["name"] == "good"] == [9]
    assert len(table["runs"]) == 3


def test_the_fingerprint_is_of_the_questions_and_not_of_the_answers(three):
    assert rows_fingerprint(three[0].rows) == rows_fingerprint(three[1].rows)


def test_the_table_has_base_once_where_it_would_stand(three):
    (table,) = leaderboard_tables(three)
    cells = panel.lines(table)
    assert {len(line) for line in cells} == {len(panel.HEADERS)} == {len(panel.WIDTHS)}
    assert [line[1] for line in cells] == ["good", "almost", "weak", "base"]
    assert cells[0][-1] == "—"
    assert "30 rows " in panel.introduction([table])


def test_the_lab_and_the_command_line_compare(lab, capsys):
    run_id = trained(lab)
    for limit in (4, 3, 4):
        list(lab.evaluations.stream(HOST, run_id, limit))
    tables = lab.evaluations.leaderboard(HOST)
    assert sorted(table["rows"] for table in tables if table["runs"][0]["run_id"] == run_id) == [3, 4]
    assert lab.evaluations.leaderboard(HOST, [run_id]) == [
        table for table in tables if table["runs"][0]["run_id"] == run_id
    ]
    capsys.readouterr()
    assert main(["runs", "compare", run_id, "--json", "--data-dir", str(lab.data_dir)]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == {"tables": lab.evaluations.leaderboard(HOST, [run_id])}
    assert "compare scores within a table only" in output.err
    assert "nothing to compare" not in output.err


@pytest.mark.parametrize("named", [True, False])
def test_a_run_that_was_not_evaluated_is_reported_with_what_to_do(lab, capsys, named):
    run_id = lab.store.create("new", smoke().to_dict()).id
    assert main(["runs", "compare", *[run_id] * named, "--json", "--data-dir", str(lab.data_dir)]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == {"tables": []}
    whose = run_id if named else "RUN"
    assert output.err == f"nothing to compare of {whose}: evaluate --run {whose} first\n"
