"""Code that parses and code that does not; no code is run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruct_tune.text.code_parsing import MAX_STATEMENTS, MOST, PARSERS, ParseShare, is_code, parse_share, parses

GOOD = {
    "python": ["def f(x):\n    return x + 1", "print('a')  # ende", "```python\nx = [1, 2]\n```", "'\\d'"],
    "json": ['{"a": [1, 2.5, null]}', "[]"],
    "sql": [
        "SELECT a, COUNT(*) FROM t WHERE b = 'x;y' GROUP BY a",
        "select * from nowhere; delete from nowhere where id = 3;",
        "INSERT INTO t (a) VALUES (1); -- done",
        "SELECT unheard_of(a) FROM t",
    ],
    "html": ["<p>one<p>two", "<ul><li>a<li>b</ul>", "<div><img src='a'><br/>x</div>", "<!DOCTYPE html><html></html>"],
}
BAD = {
    "python": ["def f(x)\n    return x", "Here is the code:\nx = 1", "x = (", "", "\0"],
    "json": ["{'a': 1}", '{"a": 1', "", "[" * 5000],
    "sql": ["SELEC a FROM t", "SELECT a FROM t WHERE (b = 1", "SELECT * FROM t; FOO", "", "SELECT 'a", "SELECT '\0'"],
    "html": ["<div><span></div></span>", "<div>", "</p>", "plain words", "", "<a href='x"],
}


def cases(of):
    return [(language, text) for language, texts in of.items() for text in texts]


@pytest.mark.parametrize(("language", "text"), cases(GOOD))
def test_what_parses(language, text):
    assert parses(text, language)


@pytest.mark.parametrize(("language", "text"), cases(BAD))
def test_what_does_not(language, text):
    assert not parses(text, language)


def test_nothing_is_run(tmp_path):
    file = tmp_path / "made.db"
    parses(f"ATTACH DATABASE '{file}' AS a; CREATE TABLE a.t (x); PRAGMA temp_store_directory = '/'", "sql")
    parses(f"open({str(file)!r}, 'w')", "python")
    assert not file.exists()


@pytest.mark.parametrize("language", PARSERS)
def test_an_endless_text_is_refused_unread(language):
    assert not parses(" 1" * MOST, language)
    assert not parses("(" * (MOST - 1), language)


def test_long_code_in_a_fence_is_parsed_to_its_end():
    code = "x = 1\n" * 3000
    assert parses(f"```python\n{code}```", "python")
    assert not parses(f"```python\n{code}x = (\n```", "python")


def test_thousands_of_statements_are_refused():
    assert not parses("SELECT 1;" * (MAX_STATEMENTS + 1), "sql")


@pytest.mark.slow
@pytest.mark.parametrize("language", PARSERS)
@given(text=st.text())
def test_any_text_has_an_answer(language, text):
    assert parses(text, language) in (True, False)


def test_only_rows_whose_reference_parses_count():
    references = ["def f(x):\n    return x", "def f(x):\n    return (", "A sentence.", "SELECT a FROM t"]
    base = ["def f(x)", "def f():\n    pass", "x", "SELECT a FROM t WHERE"]
    tuned = ["def f(x):\n    pass", "1", "x", "SELECT b FROM u"]
    assert parse_share(references, base, tuned) == ParseShare(2, 0, 2, {"python": 1, "sql": 1})


@pytest.mark.parametrize(
    ("language", "reference", "answer"),
    [
        *(("python", "print(x)", text) for text in (
            "# The answer is here", "Yes", "...", "### Response:", "42", "-1.5", "'a text'", "Yes, Paris", "pass",
            "Paris is in France", "Answer: Paris", "example.com", "# one\n'two'\nthree", "```python\n# later\n```",
        )),
        *(("sql", "SELECT a FROM t", text) for text in ("-- the query", ";", "; \r\n;", "/* all */", "-- a\n;-- b")),
        *(("json", '{"a": 1}', text) for text in ("42", '"a"', "null")),
    ],
)  # fmt: skip
def test_words_numbers_comments_and_nothing_are_no_code(language, reference, answer):
    assert not is_code(answer, language)
    assert parse_share([reference], [answer], [reference]) == ParseShare(1, 0, 1, {language: 1})


@pytest.mark.parametrize(
    ("language", "text"),
    [
        *(("python", text) for text in ("x = 1", "f(x)", "[1, 2]", "a < b", "1 / 2", "import a", "return x", "x[0]")),
        *(("sql", text) for text in ("SELECT 1; /* done */", "-- first\nSELECT 1", "SELECT '--'")),
        *(("json", text) for text in ("[]", "[1]")),
    ],
)
def test_a_line_that_computes_something_is_code(language, text):
    assert is_code(text, language)


@pytest.mark.parametrize(("reference", "answer"), [("True", "False"), ("-- SELECT a FROM t", "-- none")])
def test_a_word_counts_where_the_reference_is_one_too(reference, answer):
    share = parse_share([reference], [answer], ["no code ("])
    assert (share.rows, share.base, share.tuned) == (1, 1, 0)


def test_no_rows_of_code():
    assert parse_share(["A sentence."], ["a"], ["b"]) == ParseShare(0, 0, 0, {})
