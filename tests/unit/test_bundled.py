"""The bundled dataset: every answer is checked by running it, and the checker finds planted faults."""

from __future__ import annotations

import shutil
import statistics

import pytest


@pytest.fixture(scope="module")
def check():
    import check_instructions

    return check_instructions


def row(instruction, output, input_=""):
    return {"instruction": instruction, "input": input_, "output": output}


@pytest.mark.nightly
@pytest.mark.nightly
@pytest.mark.slow
def test_no_row_has_a_fault(check):
    assert check.all_faults(check.read()) == []


def test_the_card_counts_what_is_there(check):
    assert check.card_with(check.counts(check.read())) == check.CARD.read_text(encoding="utf-8")


def test_the_rows_are_many_and_varied(check):
    rows = check.read()
    assert 0.35 < sum(bool(each["input"]) for each in rows) / len(rows) < 0.45
    lengths = [len(each["instruction"]) for each in rows]
    assert min(lengths) < 25
    assert max(lengths) > 150
    assert statistics.stdev(lengths) > 25
    openings = [" ".join(each["instruction"].split()[:2]).lower() for each in rows]
    assert max(openings.count(each) for each in set(openings)) < 0.05 * len(rows)
    assert 100 <= statistics.mean(len(each["output"]) for each in rows) <= 160


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("python", "def f(x):\n    return {\n        x: 1,\n    }"),
        ("python", "print([n for n in range(3)])"),
        ("javascript", "const double = (x) => 2 * x;"),
        ("javascript", 'import { readFile } from "node:fs/promises";\n\nconsole.log(await readFile("a.txt", "utf8"));'),
        ("sql", "WITH n AS (SELECT 1)\nSELECT * FROM n;"),
        ("shell", "for f in *.txt; do\n    wc -w -- \"$f\"\ndone"),
        ("shell", "git stash push -u"),
        ("html", "<p>Hello</p>"),
        ("css", "a:hover {\n  color: red;\n}"),
        ("json", '{"a": [1, 2]}'),
        ("words", "git fetch only downloads; git pull also merges what it has downloaded."),
        ("words", "A\nB"),
    ],
)  # fmt: skip
def test_the_kind_follows_from_the_answer(check, kind, answer):
    assert check.kind(answer) == kind


@pytest.mark.parametrize(
    ("faulty", "fault"),
    [
        (row("Add", "def add(a, b):\n    return a + b\n\nprint(ad(1, 2))"), "NameError"),
        (row("Count. people(name, age)", "SELECT COUNT(*) FROM people WHERE agee > 3;"), "no such column: agee"),
        (row("Count.", "SELECT COUNT(*) FROM people GROUP WHERE age > 3;"), "syntax error"),
        (row("Count.", "SELECT p.nam FROM people AS p;", "CREATE TABLE people (name TEXT);"), "no such column: p.nam"),
        (row("A page", "<ul><li><b>One</li></b></ul>"), "</li> closes nothing that is open"),
        (row("A style", "p {\n  margin: 0;\n  color red;\n}"), "qualified rule"),
        (row("Some JSON", '{"a": 1,}'), "property name"),
        (row("What is printed?", "[1, 2]", "print([1, 2, 3])"), "the program prints '[1, 2, 3]'"),
        (row("Say hi ", "print('hi')"), "begins or ends with blanks"),
        (row("Say hi", "print('hi') \nprint('ho')"), "blanks at the end of a line"),
        (row("Say hi", ""), "output is empty"),
        (row("Say h\x07i", "print('hi')"), "control character"),
        (row("Say hi", "```python\nprint('hi')\n```"), "markdown fence"),
        (row("Rename", 'for f in *.txt; do\n    mv "$f" x\n  fi\ndone'), "syntax error"),
    ],
)  # fmt: skip
def test_a_fault_is_found(check, faulty, fault):
    assert fault in " ".join(check.row_faults(faulty))


@pytest.mark.skipif(not shutil.which("node"), reason="node is not here")
def test_javascript_is_read_by_node(check):
    assert check.row_faults(row("Double", "const double = (x) => 2 * x;")) == []
    assert "SyntaxError" in " ".join(check.row_faults(row("Double", "const double = (x) => 2 * ;")))


def test_an_answer_that_never_ends_is_stopped(check, monkeypatch):
    monkeypatch.setattr(check, "SECONDS", 0.5)
    assert "still running" in " ".join(check.row_faults(row("Wait", "while True:\n    pass")))


def test_a_table_that_the_row_does_not_describe_is_supplied(check):
    assert check.row_faults(row("Who is over 60?", "SELECT p.name FROM people AS p WHERE p.age > 60;")) == []


def test_near_duplicates_are_pairs_of_almost_the_same_words(check):
    rows = [
        row("Reverse a string in Python, please.", "def rev(text):\n    return text[::-1]"),
        row("Please, reverse a string in Python.", "def rev(text):\n    return text[::-1]"),
        row("Sort a list of words by length.", "words.sort(key=len)"),
    ]
    assert [pair[:2] for pair in check.near_duplicates(rows)] == [(0, 1)]
    faults = check.all_faults([*rows, rows[0]])
    assert any("asks the same as row 1" in fault for fault in faults)
    assert any("near duplicate" in fault for fault in faults)
