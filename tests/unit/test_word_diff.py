"""A word-by-word diff loses nothing of either text."""

from itertools import pairwise

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruct_tune.text.word_diff import MAX_WORDS, Kind, Piece, count_words, word_diff
from instruct_tune.ui.diff_panel import DiffPanel, difference_summary
from instruct_tune.ui.run_page.sections import _difference

TEXTS = st.text(st.sampled_from("ab c.\n<é🙂"), max_size=30)


@given(TEXTS, TEXTS)
def test_each_text_can_be_read_from_it(reference, answer):
    pieces = word_diff(reference, answer)
    assert "".join(piece.text for piece in pieces if piece.kind is not Kind.ADDED) == reference
    assert "".join(piece.text for piece in pieces if piece.kind is not Kind.MISSING) == answer
    assert all(a.kind is not b.kind for a, b in pairwise(pieces))


def test_words_are_compared_whole():
    assert word_diff("return a + b", "return b + b # sum") == (
        Piece("return ", Kind.BOTH),
        Piece("a", Kind.MISSING),
        Piece("b", Kind.ADDED),
        Piece(" + b", Kind.BOTH),
        Piece(" # sum", Kind.ADDED),
    )


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        ("return a + b", "return b + b # sum", "3 of 4 expected words, 3 others."),
        ("a b c", "x y z", "0 of 3 expected words, 3 others."),
        ("yes", "yes", "The same words as expected."),
        ("yes no", "", "0 of 2 expected words, 0 others."),
        ("yes\n no", "yes no", "The same words as expected."),
    ],
)
def test_the_words_are_counted(reference, answer, expected):
    assert difference_summary(reference, answer, word_diff(reference, answer)) == expected


def test_blanks_alone_are_nothing_in_common():
    assert word_diff("a b", "x y") == (Piece("a b", Kind.MISSING), Piece("x y", Kind.ADDED))


def test_a_very_long_text_is_compared_from_its_beginning():
    pieces = word_diff("a " * MAX_WORDS, "a " * 10)
    assert count_words(pieces) == {Kind.BOTH: 10, Kind.MISSING: MAX_WORDS // 2 - 10, Kind.ADDED: 0}


def numbered(count):
    return " ".join(f"w{number}" for number in range(count))


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        (
            numbered(5000),
            numbered(3000),
            "2,000 of the first 2,000 of 5,000 expected words, 0 others among the first 2,000 of 3,000 words of the "
            "answer.",
        ),
        (
            numbered(5000),
            numbered(2000) + " x" * 3000,
            "2,000 of the first 2,000 of 5,000 expected words, 0 others among the first 2,000 of 5,000 words of the "
            "answer.",
        ),
        (numbered(5000), numbered(1500), "1,500 of the first 2,000 of 5,000 expected words, 0 others."),
        (
            numbered(1500),
            numbered(5000),
            "1,500 of 1,500 expected words, 500 others among the first 2,000 of 5,000 words of the answer.",
        ),
        (numbered(5000), numbered(5000).replace(" ", "\n"), "The same words as expected."),
    ],
)
def test_of_long_texts_the_sentence_says_how_much_was_compared(reference, answer, expected):
    assert difference_summary(reference, answer, word_diff(reference, answer)) == expected
    assert _difference(reference, answer) == expected
    with gr.Blocks():
        panel = DiffPanel(first=[reference, answer, ""], shown=True)
    assert [box.value for box in panel.summaries] == [expected, ""]
    assert panel.updates(reference, answer, None)[2] == expected
